//! Data objects: contents, alignment, and the addresses in them.

use super::*;
use cranelift_module::{DataDescription, DataId};

on_every_kind! {
    function_pointer_tables
    data_that_points_to_data
    zeroed_and_empty_data
    data_is_aligned
    code_writes_writable_data
}

fn contents(bytes: &[u8]) -> DataDescription {
    let mut data = DataDescription::new();
    data.define(bytes.into());
    data
}

fn bytes<M: Finalized>(module: &M, id: DataId) -> &[u8] {
    let (start, size) = module.contents(id);
    // SAFETY: the module owns that many bytes there.
    unsafe { std::slice::from_raw_parts(start, size) }
}

fn word<M: Finalized>(module: &M, id: DataId, at: usize) -> usize {
    let bytes = bytes(module, id)[at..at + 8].try_into().unwrap();
    usize::from_ne_bytes(bytes)
}

fn add(n: i64) -> String {
    format!(
        "function %f(i64) -> i64 system_v {{
block0(v0: i64):
    v1 = iconst.i64 {n}
    v2 = iadd v0, v1
    return v2
}}"
    )
}

fn function_pointer_tables<K: Kind>() {
    let mut module = K::module();
    let table = module
        .declare_data("table", Linkage::Local, false, false)
        .unwrap();
    let call_indexed = "function %call(i64) -> i64 system_v {
    gv0 = symbol colocated u1:0
    sig0 = (i64) -> i64 system_v
block0(v0: i64):
    v1 = symbol_value.i64 gv0
    v2 = iconst.i64 8
    v3 = imul v0, v2
    v4 = iadd v1, v3
    v5 = load.i64 v4
    v6 = call_indirect sig0, v5(v0)
    return v6
}";
    let caller = define(&mut module, "call", call_indexed);
    let ids: Vec<FuncId> = (0..3)
        .map(|n| declare(&mut module, &format!("add{n}"), &add(100 * n)))
        .collect();
    let mut data = contents(&[0xff; 24]);
    for (n, &id) in ids.iter().enumerate() {
        let function = module.declare_func_in_data(id, &mut data);
        data.write_function_addr(8 * n as u32, function);
    }
    module.define_data(table, &data).unwrap();
    for (n, &id) in (0..).zip(&ids) {
        try_define(&mut module, id, &add(100 * n)).unwrap();
    }
    module.finalize();
    for (n, &id) in ids.iter().enumerate() {
        assert_eq!(word(&module, table, 8 * n), module.code(id).addr());
        for _ in 0..3 {
            assert_eq!(call(module.code(caller), n as i64), 101 * n as i64);
        }
    }
}

fn data_that_points_to_data<K: Kind>() {
    let mut module = K::module();
    let text = module.declare_anonymous_data(false, false).unwrap();
    let pointer = module
        .declare_data("pointer", Linkage::Export, true, false)
        .unwrap();
    let itself = module
        .declare_data("itself", Linkage::Export, true, false)
        .unwrap();
    let mut data = contents(&[0; 20]);
    for (offset, addend) in [(0, 0), (8, 6), (12, -1)] {
        let global = module.declare_data_in_data(text, &mut data);
        data.write_data_addr(offset, global, addend);
    }
    module.define_data(pointer, &data).unwrap();
    let mut data = contents(&[0; 8]);
    let global = module.declare_data_in_data(itself, &mut data);
    data.write_data_addr(0, global, 3);
    module.define_data(itself, &data).unwrap();
    module.define_data(text, &contents(b"hello, data")).unwrap();
    module.finalize();
    let start = module.contents(text).0.addr();
    assert_eq!(bytes(&module, text), b"hello, data");
    assert_eq!(word(&module, pointer, 0), start);
    // The last one was written over the one before.
    assert_eq!(word(&module, pointer, 12), start - 1);
    assert_eq!(
        word(&module, itself, 0),
        module.contents(itself).0.addr() + 3
    );
}

fn zeroed_and_empty_data<K: Kind>() {
    let mut module = K::module();
    let mut ids = vec![];
    for writable in [false, true] {
        for size in [0, 1, 5000] {
            let id = module.declare_anonymous_data(writable, false).unwrap();
            let mut data = DataDescription::new();
            data.define_zeroinit(size);
            module.define_data(id, &data).unwrap();
            ids.push((id, size));
        }
        let id = module.declare_anonymous_data(writable, false).unwrap();
        module.define_data(id, &contents(&[])).unwrap();
        ids.push((id, 0));
    }
    module.finalize();
    let mut starts = vec![];
    for (id, size) in ids {
        assert_eq!(bytes(&module, id), vec![0; size.max(1)]);
        starts.push(module.contents(id).0);
    }
    starts.sort();
    starts.dedup();
    assert_eq!(starts.len(), 8);
}

fn data_is_aligned<K: Kind>() {
    let mut module = K::module();
    let mut ids = vec![];
    for align in [1, 2, 64, 4096] {
        for writable in [false, true] {
            let id = module.declare_anonymous_data(writable, false).unwrap();
            let mut data = contents(&[1, 2, 3]);
            data.set_align(align);
            module.define_data(id, &data).unwrap();
            ids.push((id, align));
        }
    }
    module.finalize();
    for (id, align) in ids {
        assert_eq!(bytes(&module, id), [1, 2, 3]);
        assert_eq!(module.contents(id).0.addr() % align as usize, 0);
    }
}

fn code_writes_writable_data<K: Kind>() {
    let mut module = K::module();
    let counter = module
        .declare_data("counter", Linkage::Local, true, false)
        .unwrap();
    let count = define(
        &mut module,
        "count",
        "function %count(i64) -> i64 system_v {
    gv0 = symbol colocated u1:0
block0(v0: i64):
    v1 = symbol_value.i64 gv0
    v2 = load.i64 v1+8
    v3 = iadd v2, v0
    store v3, v1+8
    return v3
}",
    );
    let mut data = DataDescription::new();
    data.define_zeroinit(16);
    module.define_data(counter, &data).unwrap();
    module.finalize();
    let code = module.code(count);
    assert_eq!([1, 2, 3, 4].map(|n| call(code, n)), [1, 3, 6, 10]);
    assert_eq!(word(&module, counter, 8), 10);
}

#[test]
fn data_is_aligned_beyond_a_page() {
    let mut module = kinds::DropIn::module();
    for align in [8192, 1 << 20] {
        let id = module.declare_anonymous_data(true, false).unwrap();
        let mut data = contents(&[7; 100]);
        data.set_align(align);
        module.define_data(id, &data).unwrap();
        module.finalize();
        assert_eq!(bytes(&module, id), [7; 100]);
        assert_eq!(module.contents(id).0.addr() % align as usize, 0);
    }
}

#[test]
fn read_only_data_is_not_writable() {
    let mut module = kinds::DropIn::module();
    let id = module.declare_anonymous_data(false, false).unwrap();
    module.define_data(id, &contents(&[1; 16])).unwrap();
    module.finalize();
    let start = module.contents(id).0.addr();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().find(|line| {
        let (range, _) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|end| usize::from_str_radix(end, 16).unwrap());
        (from..to).contains(&start)
    });
    assert_eq!(mapped.unwrap().split(' ').nth(1), Some("r--p"));
}

/// A provider that counts what it is asked for.
struct Counting {
    system: regraft::jit::SystemMemoryProvider,
    asked: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl regraft::jit::JITMemoryProvider for Counting {
    fn allocate(
        &mut self,
        size: usize,
        align: u64,
        kind: regraft::jit::JITMemoryKind,
    ) -> std::io::Result<*mut u8> {
        use regraft::jit::JITMemoryKind;
        let name = match kind {
            JITMemoryKind::Executable => "executable",
            JITMemoryKind::Writable => "writable",
            JITMemoryKind::ReadOnly => "read-only",
        };
        self.asked
            .lock()
            .unwrap()
            .push(format!("{name} {size} {align}"));
        if size > 1 << 30 {
            return Err(std::io::Error::other("no"));
        }
        self.system.allocate(size, align, kind)
    }

    unsafe fn free_memory(&mut self) {
        self.asked.lock().unwrap().push("free".into());
        // SAFETY: the caller's contract.
        unsafe { self.system.free_memory() }
    }

    fn finalize(&mut self, protection: regraft::jit::BranchProtection) -> ModuleResult<()> {
        self.asked.lock().unwrap().push("finalize".into());
        self.system.finalize(protection)
    }
}

#[test]
fn data_comes_from_the_clients_provider() {
    let asked = std::sync::Arc::default();
    let provider = Counting {
        system: regraft::jit::SystemMemoryProvider::new(),
        asked: std::sync::Arc::clone(&asked),
    };
    let names = cranelift_module::default_libcall_names();
    let mut builder = regraft::jit::JITBuilder::new(names).unwrap();
    builder.memory_provider(Box::new(provider));
    let mut module = regraft::jit::JITModule::new(builder);
    for writable in [false, true] {
        let id = module.declare_anonymous_data(writable, false).unwrap();
        module.define_data(id, &contents(&[1; 16])).unwrap();
    }
    let huge = module.declare_anonymous_data(true, false).unwrap();
    let mut data = DataDescription::new();
    data.define_zeroinit(1 << 31);
    let error = module.define_data(huge, &data).unwrap_err();
    assert!(matches!(
        error,
        cranelift_module::ModuleError::Allocation { .. }
    ));
    module.finalize();
    // SAFETY: nothing uses the data.
    unsafe { module.free() };
    assert_eq!(
        *asked.lock().unwrap(),
        [
            "read-only 16 1",
            "writable 16 8",
            "writable 2147483648 8",
            "finalize",
            "free"
        ]
    );
}
