//! Small programs: the same results in all modes.
//!
//! Those in `programs` are part of the project, and what they compute is computed here a second time. Where C programs
//! lie beside the project (`../shared/workloads`), they run as well; where `CI` is set, they have to be there.

mod common;

use common::{assemble, modes};
use regraft_wasm::{Imports, Instance, Module, Store, Value};
use std::path::{Path, PathBuf};

const ARGUMENTS: [i32; 4] = [1, 0, 2, 1];

/// What `run` returns for each argument, the same in all modes.
fn in_all_modes(name: &str, binary: &[u8]) -> Vec<u64> {
    let module = Module::new(binary).unwrap();
    let mut results = vec![];
    for (mode, config) in modes() {
        let store = Store::new(config).unwrap();
        let instance = Instance::new(&store, &module, &Imports::new()).unwrap();
        let mut sums = vec![];
        for argument in ARGUMENTS {
            let result = instance.call("run", &[Value::I32(argument)]).unwrap();
            match result[..] {
                [Value::F64(bits)] => sums.push(bits),
                _ => panic!("{name}: run returned {result:?}"),
            }
        }
        results.push((mode, sums));
    }
    let (_, first) = results.remove(0);
    for (mode, sums) in results {
        assert_eq!(sums, first, "{name}: {mode} and eager differ");
    }
    let shown: Vec<f64> = first.iter().map(|bits| f64::from_bits(*bits)).collect();
    println!("{name}: {shown:?}");
    first
}

#[test]
fn results_are_the_same_in_all_modes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/workloads");
    let entries = std::fs::read_dir(&folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("readable").path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ext| ext == "wasm"))
        .collect();
    files.sort();
    if files.is_empty() {
        let must = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
        assert!(!must, "CI is set, and there is no {}", folder.display());
        println!(
            "only the project's own programs: there is no {}",
            folder.display()
        );
    }
    for file in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        in_all_modes(&name, &std::fs::read(file).unwrap());
    }
}

/// Runs a program of the project, and compares it with the same in Rust.
fn check(name: &str, model: fn(u32) -> f64) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/programs/{name}.wat"));
    let text = std::fs::read_to_string(path).unwrap();
    let found = in_all_modes(name, &assemble(&text));
    let expected = ARGUMENTS.map(|argument| model(argument.cast_unsigned()).to_bits());
    assert_eq!(found, expected, "{name}");
}

#[test]
fn sieve() {
    check("sieve", |n| {
        let primes =
            (2..2000 * n).filter(|&p| (2..p).take_while(|d| d * d <= p).all(|d| p % d != 0));
        primes.count() as f64
    });
}

#[test]
fn mandel() {
    check("mandel", |n| {
        let mut sum = 0;
        for (y, x) in (0..24).flat_map(|y| (0..24).map(move |x| (y, x))) {
            let (ca, cb) = (f64::from(x) / 8.0 - 2.0, f64::from(y) / 12.0 - 1.0);
            let (mut a, mut b) = (0.0f64, 0.0f64);
            for _ in 0..50 * n {
                (a, b) = (a * a - b * b + ca, 2.0 * a * b + cb);
                if a * a + b * b > 4.0 {
                    break;
                }
                sum += 1;
            }
        }
        f64::from(sum)
    });
}

#[test]
fn mix() {
    check("mix", |n| {
        let mut words: Vec<u32> = (0..64u32).map(|i| i.wrapping_mul(0x9e37_79b1)).collect();
        let (mut a, mut b) = (0x6a09_e667_u32, 0xbb67_ae85_u32);
        for i in 0..3000 * n as usize {
            let word = &mut words[i % 64];
            a = a.rotate_left(5).wrapping_add(b ^ *word);
            b = b.rotate_right(11) ^ a;
            *word = word.wrapping_add(b);
        }
        f64::from(a ^ b)
    });
}

#[test]
fn interp() {
    check("interp", |n| {
        let step = |acc: u32| ((acc.wrapping_add(7).wrapping_mul(3) ^ 0x55) << 1).wrapping_add(1);
        f64::from((0..500 * n).fold(0, |acc, _| step(acc)))
    });
}

#[test]
fn sort() {
    check("sort", |n| {
        let mut seed = 12_345_u32;
        let mut words: Vec<u32> = (0..150 * n)
            .map(|_| {
                seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                seed >> 16
            })
            .collect();
        words.sort_unstable();
        let sum = words
            .iter()
            .fold(0u32, |sum, word| sum.wrapping_mul(31).wrapping_add(*word));
        f64::from(sum)
    });
}

#[test]
fn calls() {
    check("calls", |n| {
        let n = 2000 * n;
        let x = (0..n).fold(1u32, |x, i| match (i & 14, i & 1) {
            (0, 0) => 0u32.wrapping_sub(x),
            (0, _) => x >> 1,
            _ => x.wrapping_mul(3),
        });
        let sum = (0..=n).fold(0u32, u32::wrapping_add);
        f64::from(x.wrapping_add(610).wrapping_add(sum))
    });
}

#[test]
fn orbit() {
    check("orbit", |n| {
        let (mut x, mut y, mut u, mut v) = (1.0f64, 0.0f64, 0.0f64, 1.0f64);
        for _ in 0..5000 * n {
            let r = (x * x + y * y).sqrt();
            let r = r * r * r;
            u -= 0.001 * (x / r);
            v -= 0.001 * (y / r);
            x += 0.001 * u;
            y += 0.001 * v;
        }
        x + y
    });
}
