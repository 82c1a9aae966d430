//! WASI's functions, called one by one through a module that passes them on.

mod common;

use common::{assemble, folder};
use regraft::Config;
use regraft_wasm::{Error, Imports, Instance, Memory, Module, Store, Value, Wasi};
use std::path::Path;

const BADF: i32 = 8;
const EXIST: i32 = 20;
const FAULT: i32 = 21;
const ISDIR: i32 = 31;
const NOENT: i32 = 44;
const NOTSUP: i32 = 58;
const NOTCAPABLE: i32 = 76;

/// Imports functions and exports them again, with a memory of their own.
const PASS_ON: &[(&str, &str)] = &[
    ("args_get", "i32 i32"),
    ("args_sizes_get", "i32 i32"),
    ("environ_sizes_get", "i32 i32"),
    ("clock_time_get", "i32 i64 i32"),
    ("random_get", "i32 i32"),
    ("poll_oneoff", "i32 i32 i32 i32"),
    ("sched_yield", ""),
    ("sock_shutdown", "i32 i32"),
    ("fd_prestat_get", "i32 i32"),
    ("fd_prestat_dir_name", "i32 i32 i32"),
    ("fd_read", "i32 i32 i32 i32"),
    ("fd_write", "i32 i32 i32 i32"),
    ("fd_seek", "i32 i64 i32 i32"),
    ("fd_close", "i32"),
    ("fd_readdir", "i32 i32 i32 i64 i32"),
    ("fd_filestat_get", "i32 i32"),
    ("fd_fdstat_set_flags", "i32 i32"),
    ("path_filestat_set_times", "i32 i32 i32 i32 i64 i64 i32"),
    ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
    ("path_filestat_get", "i32 i32 i32 i32 i32"),
    ("path_create_directory", "i32 i32 i32"),
    ("path_remove_directory", "i32 i32 i32"),
    ("path_unlink_file", "i32 i32 i32"),
    ("path_rename", "i32 i32 i32 i32 i32 i32"),
    ("path_symlink", "i32 i32 i32 i32 i32"),
];

struct World {
    instance: Instance,
    memory: Memory,
}

impl World {
    fn new(configure: impl FnOnce(&mut Wasi)) -> Self {
        let mut text = String::from("(module ");
        for (name, params) in PASS_ON {
            text.push_str(&format!(
                "(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param {params}) (result i32)))"
            ));
        }
        for (name, _) in PASS_ON {
            text.push_str(&format!("(export \"{name}\" (func ${name}))"));
        }
        text.push_str("(memory (export \"memory\") 1))");
        let store = Store::new(Config::default()).unwrap();
        let mut wasi = Wasi::new();
        configure(&mut wasi);
        let mut imports = Imports::new();
        wasi.define(&store, &mut imports).unwrap();
        let module = Module::new(&assemble(&text)).unwrap();
        let instance = Instance::new(&store, &module, &imports).unwrap();
        let memory = instance.memory("memory").unwrap();
        Self { instance, memory }
    }

    /// Calls a function with numbers of whatever width it wants; returns its error number.
    fn call(&self, name: &str, arguments: &[i64]) -> i32 {
        let function = self.instance.func(name).unwrap();
        let params = function.ty().params;
        let arguments: Vec<Value> = params
            .iter()
            .zip(arguments)
            .map(|(ty, value)| match ty {
                regraft_wasm::ValueType::I64 => Value::I64(*value),
                _ => Value::I32(*value as i32),
            })
            .collect();
        match function.call(&arguments).unwrap()[..] {
            [Value::I32(errno)] => errno,
            ref other => panic!("{name} returned {other:?}"),
        }
    }

    /// Calls a function whose arguments after the descriptor are a path.
    fn path(&self, name: &str, path: &str) -> i32 {
        self.memory.write(1024, path.as_bytes()).unwrap();
        self.call(name, &[3, 1024, path.len() as i64])
    }

    /// Opens a path; the descriptor, or the error number.
    fn open(&self, path: &str, oflags: i64, write: bool) -> Result<i64, i32> {
        self.memory.write(1024, path.as_bytes()).unwrap();
        let rights = if write { 1 << 6 | 1 << 1 } else { 1 << 1 };
        let length = path.len() as i64;
        match self.call("path_open", &[3, 1, 1024, length, oflags, rights, 0, 0, 8]) {
            0 => Ok(i64::from(self.word(8))),
            errno => Err(errno),
        }
    }

    fn word(&self, at: u64) -> u32 {
        let mut bytes = [0; 4];
        self.memory.read(at, &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    }

    /// Reads up to `length` bytes of a descriptor.
    fn read(&self, fd: i64, length: u32) -> Vec<u8> {
        self.memory.write(16, &4096u32.to_le_bytes()).unwrap();
        self.memory.write(20, &length.to_le_bytes()).unwrap();
        assert_eq!(self.call("fd_read", &[fd, 16, 1, 8]), 0);
        self.memory.read_vec(4096, u64::from(self.word(8))).unwrap()
    }

    fn write(&self, fd: i64, bytes: &[u8]) -> i32 {
        self.memory.write(4096, bytes).unwrap();
        self.memory.write(16, &4096u32.to_le_bytes()).unwrap();
        let length = bytes.len() as u32;
        self.memory.write(20, &length.to_le_bytes()).unwrap();
        self.call("fd_write", &[fd, 16, 1, 8])
    }
}

fn with_directory(path: &Path) -> World {
    World::new(|wasi| {
        wasi.directory(path, "/data").unwrap();
    })
}

#[test]
fn standard_output_and_standard_error_are_kept_apart() {
    let mut kept = None;
    let world = World::new(|wasi| kept = Some((wasi.capture(), wasi.capture_error())));
    for (fd, text) in [(1, "out"), (2, "err"), (2, "or"), (1, "put")] {
        assert_eq!(world.write(fd, text.as_bytes()), 0);
    }
    let (output, error) = kept.unwrap();
    assert_eq!(*output.borrow(), b"output");
    assert_eq!(*error.borrow(), b"error");
}

#[test]
fn files_are_read_and_written() {
    let root = folder("wasi-files");
    std::fs::write(root.join("a.txt"), "hello").unwrap();
    let world = with_directory(&root);
    assert_eq!(world.call("fd_prestat_get", &[3, 0]), 0);
    assert_eq!(world.word(4), 5);
    assert_eq!(world.call("fd_prestat_get", &[4, 0]), BADF);
    assert_eq!(world.call("fd_prestat_dir_name", &[3, 64, 5]), 0);
    assert_eq!(world.memory.read_vec(64, 5).unwrap(), b"/data");

    let fd = world.open("a.txt", 0, false).unwrap();
    assert_eq!(world.read(fd, 3), b"hel");
    assert_eq!(world.read(fd, 10), b"lo");
    assert_eq!(world.call("fd_seek", &[fd, -4, 2, 8]), 0);
    assert_eq!(world.read(fd, 2), b"el");
    assert_eq!(world.call("fd_filestat_get", &[fd, 256]), 0);
    assert_eq!(world.word(256 + 32), 5);
    assert_eq!(world.call("fd_close", &[fd]), 0);
    assert_eq!(world.call("fd_close", &[fd]), BADF);

    assert_eq!(world.open("b.txt", 0, false), Err(NOENT));
    let fd = world.open("b.txt", 1 | 4, true).unwrap();
    assert_eq!(world.write(fd, b"written"), 0);
    assert_eq!(std::fs::read(root.join("b.txt")).unwrap(), b"written");
    assert_eq!(world.open("b.txt", 1 | 4, true), Err(EXIST));
    let fd = world.open("b.txt", 8, true).unwrap();
    assert_eq!(world.write(fd, b"new"), 0);
    assert_eq!(std::fs::read(root.join("b.txt")).unwrap(), b"new");

    assert_eq!(world.path("path_create_directory", "sub"), 0);
    world.memory.write(1024, b"b.txtsub/c.txt").unwrap();
    assert_eq!(world.call("path_rename", &[3, 1024, 5, 3, 1029, 9]), 0);
    assert!(root.join("sub/c.txt").exists());
    let fd = world.open("sub", 2, false).unwrap();
    assert_eq!(world.call("fd_readdir", &[fd, 8192, 4096, 0, 8]), 0);
    let used = u64::from(world.word(8));
    let listing = world.memory.read_vec(8192, used).unwrap();
    assert!(listing.windows(5).any(|name| name == b"c.txt"));
    assert_eq!(world.path("path_unlink_file", "sub/c.txt"), 0);
    assert_eq!(world.path("path_remove_directory", "sub"), 0);
    assert!(!root.join("sub").exists());
}

#[test]
fn nothing_outside_of_the_directory_can_be_reached() {
    let outer = folder("wasi-outside");
    let root = outer.join("root");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    std::fs::write(outer.join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("..", root.join("up")).unwrap();
    std::os::unix::fs::symlink("/", root.join("top")).unwrap();
    std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
    std::os::unix::fs::symlink("sub", root.join("inside")).unwrap();
    let world = with_directory(&root);
    let absolute = outer.join("secret").to_string_lossy().into_owned();
    for path in [
        "..",
        "../secret",
        "sub/../../secret",
        "up/secret",
        "top/etc/passwd",
        "link",
        "/etc/passwd",
        &absolute,
    ] {
        for (oflags, write) in [(0, false), (1, true), (2, false), (8, true)] {
            let opened = world.open(path, oflags, write);
            assert!(opened.is_err(), "{path} with {oflags} was opened");
        }
        let length = path.len() as i64;
        assert_ne!(
            world.call("path_filestat_get", &[3, 1, 1024, length, 256]),
            0,
            "{path}"
        );
        for function in [
            "path_unlink_file",
            "path_create_directory",
            "path_remove_directory",
        ] {
            // A link may be removed, but not what it leads to.
            if path != "link" {
                assert_ne!(world.path(function, path), 0, "{function} {path}");
            }
        }
    }
    assert_eq!(world.open("../secret", 0, false), Err(NOTCAPABLE));
    assert_eq!(std::fs::read(outer.join("secret")).unwrap(), b"secret");
    // What stays inside works, by links and by `..` too.
    std::fs::write(root.join("sub/x"), "x").unwrap();
    assert!(world.open("inside/x", 0, false).is_ok());
    assert!(world.open("sub/../sub/x", 0, false).is_ok());
    world.memory.write(1024, b"/etcnew").unwrap();
    assert_ne!(world.call("path_symlink", &[1024, 4, 3, 1028, 3]), 0);
}

#[test]
fn the_rest_of_the_world() {
    let world = World::new(|wasi| {
        wasi.argument("program").argument("argument");
        wasi.variable("NAME", "value").input(b"typed");
    });
    assert_eq!(world.call("args_sizes_get", &[0, 4]), 0);
    assert_eq!((world.word(0), world.word(4)), (2, 17));
    assert_eq!(world.call("args_get", &[0, 64]), 0);
    assert_eq!(
        world.memory.read_vec(64, 17).unwrap(),
        b"program\0argument\0"
    );
    assert_eq!(world.call("environ_sizes_get", &[0, 4]), 0);
    assert_eq!((world.word(0), world.word(4)), (1, 11));
    assert_eq!(world.read(0, 100), b"typed");
    assert_eq!(world.call("clock_time_get", &[0, 1, 128]), 0);
    assert_ne!(world.memory.read_vec(128, 8).unwrap(), [0; 8]);
    assert_ne!(world.call("clock_time_get", &[9, 1, 128]), 0);
    assert_eq!(world.call("random_get", &[2048, 64]), 0);
    assert_ne!(world.memory.read_vec(2048, 64).unwrap(), [0; 64]);
    assert_eq!(world.call("sched_yield", &[]), 0);
    assert_eq!(world.call("sock_shutdown", &[0, 0]), NOTSUP);
    // A relative clock of a millisecond.
    let mut subscription = [0; 48];
    subscription[0] = 42;
    subscription[16] = 1;
    subscription[24..28].copy_from_slice(&1_000_000u32.to_le_bytes());
    world.memory.write(512, &subscription).unwrap();
    assert_eq!(world.call("poll_oneoff", &[512, 640, 1, 8]), 0);
    assert_eq!((world.word(8), world.word(640)), (1, 42));
    // Addresses outside of the memory.
    assert_eq!(world.call("random_get", &[65_530, 64]), FAULT);
    assert_eq!(world.call("args_get", &[-4, -4]), FAULT);
    assert_eq!(world.call("fd_write", &[1, -8, 1, 0]), FAULT);
    assert_eq!(world.call("fd_read", &[99, 0, 0, 0]), BADF);
}

#[test]
fn a_program_exits() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (call $exit (i32.const 7)) unreachable))"#;
    for (mode, config) in common::modes() {
        let store = Store::new(config).unwrap();
        let mut imports = Imports::new();
        Wasi::new().define(&store, &mut imports).unwrap();
        let module = Module::new(&assemble(text)).unwrap();
        let instance = Instance::new(&store, &module, &imports).unwrap();
        let outcome = instance.call("_start", &[]);
        assert!(
            matches!(outcome, Err(Error::Exit(7))),
            "{mode}: {outcome:?}"
        );
    }
}

#[test]
fn a_listing_gives_every_entry_an_inode() {
    let root = folder("wasi-inodes");
    std::fs::write(root.join("a.txt"), "a").unwrap();
    std::fs::create_dir(root.join("sub")).unwrap();
    let world = with_directory(&root);
    assert_eq!(world.call("fd_readdir", &[3, 8192, 4096, 0, 8]), 0);
    let used = u64::from(world.word(8));
    let listing = world.memory.read_vec(8192, used).unwrap();
    let mut names = vec![];
    let mut at = 0;
    while at + 24 <= listing.len() {
        let inode = u64::from_le_bytes(listing[at + 8..at + 16].try_into().unwrap());
        let length = u32::from_le_bytes(listing[at + 16..at + 20].try_into().unwrap()) as usize;
        let name = String::from_utf8_lossy(&listing[at + 24..at + 24 + length]).into_owned();
        // A C library would ask for the status of the path, which is refused for `..`.
        assert_ne!(inode, 0, "{name}");
        names.push(name);
        at += 24 + length;
    }
    assert_eq!(names, [".", "..", "a.txt", "sub"]);
}

#[test]
fn a_directory_is_not_opened_for_writing() {
    let root = folder("wasi-directory-written");
    std::fs::create_dir(root.join("sub")).unwrap();
    let world = with_directory(&root);
    assert_eq!(world.open("sub", 0, true), Err(ISDIR));
    assert_eq!(world.open("sub", 8, false), Err(ISDIR));
    assert!(world.open("sub", 0, false).is_ok());
}

#[test]
fn flags_and_times_can_be_changed() {
    let root = folder("wasi-changed");
    std::fs::write(root.join("a.txt"), "old").unwrap();
    let world = with_directory(&root);
    let fd = world.open("a.txt", 0, true).unwrap();
    assert_eq!(world.call("fd_fdstat_set_flags", &[fd, 1]), 0);
    assert_eq!(world.write(fd, b" new"), 0);
    assert_eq!(std::fs::read(root.join("a.txt")).unwrap(), b"old new");
    assert_eq!(world.call("fd_fdstat_set_flags", &[fd, 0]), 0);
    assert_eq!(world.call("fd_seek", &[fd, 0, 0, 8]), 0);
    assert_eq!(world.write(fd, b"OLD"), 0);
    assert_eq!(std::fs::read(root.join("a.txt")).unwrap(), b"OLD new");

    let second = 1_000_000_000;
    world.memory.write(1024, b"a.txt").unwrap();
    let arguments = [3, 1, 1024, 5, 7 * second, 9 * second, 1 | 4];
    assert_eq!(world.call("path_filestat_set_times", &arguments), 0);
    let modified = std::fs::metadata(root.join("a.txt")).unwrap().modified();
    let since = modified.unwrap().duration_since(std::time::UNIX_EPOCH);
    assert_eq!(since.unwrap().as_secs(), 9);
}
