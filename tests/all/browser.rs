//! Pages in a browser: clicked through, with nothing wrong on the console. Skipped, saying so, where there is no
//! Chromium, no node, or no package registry.
//!
//! The screenshots stay in `target/tmp/pages`.

use crate::cli::{Scratch, fine};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The version of Playwright's library: it speaks to browsers, and brings none.
const PLAYWRIGHT: &str = "1.65.1";

/// What a page is clicked through with.
struct Browser {
    chromium: PathBuf,
    playwright: PathBuf,
    pictures: PathBuf,
}

/// What there is of it, or what is missing; found once for all tests.
fn browser() -> Result<&'static Browser, &'static String> {
    static BROWSER: OnceLock<Result<Browser, String>> = OnceLock::new();
    BROWSER.get_or_init(find_browser).as_ref()
}

fn find_browser() -> Result<Browser, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let find = |names: &[&str]| {
        let places = names
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        let mut found = places.filter(|place| place.exists());
        found.next().ok_or(format!("there is no {}", names[0]))
    };
    let chromium = find(&["chromium", "chromium-browser", "google-chrome"])?;
    find(&["node"])?;
    find(&["npm"])?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let playwright = folder.join("package");
    if !playwright.join("package.json").exists() {
        let package = format!("playwright-core@{PLAYWRIGHT}");
        let fetched = Command::new("npm")
            .args(["pack", "--silent", &package])
            .current_dir(&folder)
            .output();
        let fetched = fetched.map_err(|error| error.to_string())?;
        if !fetched.status.success() {
            return Err(format!("npm cannot fetch {package}"));
        }
        let unpacked = Command::new("tar")
            .args(["-xzf", &format!("playwright-core-{PLAYWRIGHT}.tgz")])
            .current_dir(&folder)
            .status();
        if !unpacked.is_ok_and(|status| status.success()) {
            return Err("the package cannot be unpacked".to_string());
        }
    }
    Ok(Browser {
        chromium,
        playwright,
        pictures: folder,
    })
}

/// Clicks through pages; what is wrong with them.
fn click(browser: &Browser, pages: &[&str]) -> Result<String, String> {
    drive(browser, "click.mjs", pages)
}

/// What a script says that has a browser open pages.
fn drive(browser: &Browser, script: &str, pages: &[&str]) -> Result<String, String> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/browser"));
    let output = Command::new("node")
        .arg(folder.join(script))
        .args([&browser.playwright, &browser.chromium, &browser.pictures])
        .args(pages)
        .output()
        .expect("node runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stdout) + &text(&output.stderr)),
    }
}

/// An interpreter with 200 opcodes, of which few are hot.
fn interpreter() -> String {
    let mut clif = "function %interpreter(i64) -> i64 system_v {\nblock0(v0: i64):\n    v1 = iconst.i64 1\n    \
        jump block1(v0, v1, v1)\nblock1(v2: i64, v3: i64, v4: i64):\n    v5 = iconst.i64 3\n    v6 = band v2, v5\n    \
        v7 = iconst.i64 997\n    v8 = urem v2, v7\n    v9 = iconst.i64 1\n    v10 = icmp ult v8, v9\n    \
        v11 = iconst.i64 199\n    v12 = urem v2, v11\n    v13 = select v10, v12, v6\n    v14 = ireduce.i32 v13\n    \
        br_table v14, block3(v3), ["
        .to_string();
    let targets: Vec<String> = (0..200).map(|at| format!("block{}(v3)", at + 10)).collect();
    // Writing to a string does not fail.
    let _ = writeln!(clif, "{}]", targets.join(", "));
    for at in 0..200u64 {
        let (block, p, c, r) = (at + 10, 100 + at * 3, 101 + at * 3, 102 + at * 3);
        let operation = ["iadd", "bxor", "imul", "isub"][(at % 4) as usize];
        let _ = write!(
            clif,
            "block{block}(v{p}: i64):\n    v{c} = iconst.i64 {}\n    v{r} = {operation} v{p}, v{c}\n    jump block3(v{r})\n",
            at * 2 + 1
        );
    }
    clif.push_str(
        "block3(v20: i64):\n    v21 = iconst.i64 -1\n    v22 = iadd.i64 v2, v21\n    brif v22, block1(v22, v20, v4), \
         block4\nblock4:\n    return v20\n}\n; print: %interpreter(2000000)\n",
    );
    clif
}

/// A program that writes, by WASI, after it has computed for a while.
const WASI: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "primes are counted\n")
  (func $primes (param $to i32) (result i32) (local $n i32) (local $d i32) (local $found i32)
    (local.set $n (i32.const 2))
    (loop $numbers
      (local.set $d (i32.const 2))
      (block $composite
        (loop $divisors
          (if (i32.le_u (i32.mul (local.get $d) (local.get $d)) (local.get $n))
            (then
              (br_if $composite (i32.eqz (i32.rem_u (local.get $n) (local.get $d))))
              (local.set $d (i32.add (local.get $d) (i32.const 1)))
              (br $divisors))))
        (local.set $found (i32.add (local.get $found) (i32.const 1))))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $numbers (i32.lt_u (local.get $n) (local.get $to))))
    (local.get $found))
  (func (export "_start")
    (drop (call $primes (i32.const 60000)))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 19))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))))"#;

/// Builds `regraft-wasm` and runs it.
fn run_wasm(args: &[&str]) {
    let test = std::env::current_exe().expect("this binary has a path");
    let release = test.components().any(|part| part.as_os_str() == "release");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "-p", "regraft-wasm"]);
    if release {
        cargo.arg("--release");
    }
    let output = cargo.arg("--").args(args).output().expect("cargo runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"primes are counted\n");
}

#[test]
fn pages_can_be_clicked_through() {
    let browser = match browser() {
        Ok(browser) => browser,
        Err(missing) => return println!("skipped: {missing}"),
    };
    let page = |name: &str| {
        browser
            .pictures
            .join(format!("{name}.html"))
            .display()
            .to_string()
    };
    let (clif, machine, wasi) = (page("clif"), page("interpreter"), page("wasi"));
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/clif");
    let files = std::fs::read_dir(folder).expect("there are examples");
    let files: Vec<String> = files
        .map(|file| file.expect("a file").path().display().to_string())
        .collect();
    let mut args = vec!["run", "--threshold", "20", "--html", &clif];
    args.extend(files.iter().map(|file| &**file));
    fine(&args);
    let source = Scratch::new("interpreter.clif", &interpreter());
    fine(&["run", "--html", &machine, source.path()]);
    let source = Scratch::new("primes.wat", WASI);
    run_wasm(&["--threshold", "100", "--html", &wasi, source.path()]);
    match click(browser, &[&clif, &machine, &wasi]) {
        Ok(said) => assert_eq!(said.lines().count(), 3, "{said}"),
        Err(wrong) => panic!("{wrong}"),
    }
}

#[test]
fn a_page_that_says_an_error_is_found() {
    let browser = match browser() {
        Ok(browser) => browser,
        Err(missing) => return println!("skipped: {missing}"),
    };
    let page = browser.pictures.join("broken.html");
    let name = page.display().to_string();
    fine(&[
        "run",
        "--threshold",
        "20",
        "--html",
        &name,
        concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/clif/nested.clif"),
    ]);
    let text = std::fs::read_to_string(&page).expect("it was written");
    std::fs::write(
        &page,
        text.replace("\nshow();\n", "\nshow();\nconsole.error(\"broken\");\n"),
    )
    .expect("it can be written");
    let wrong = click(browser, &[&name]).expect_err("it says an error");
    assert!(wrong.contains("broken"), "{wrong}");
}

/// A loop of that many blocks, of which one in fifty is taken often.
fn blocks(count: usize) -> String {
    let mut clif = "function %wide(i64) -> i64 system_v {\nblock0(v0: i64):\n    v1 = iconst.i64 -1\n    v2 = iconst.i64 49\n    \
        jump block1(v0)\nblock1(v3: i64):\n    v4 = iadd v3, v1\n    v5 = band v3, v2\n    v6 = ireduce.i32 v5\n    \
        brif v4, block3, block2\nblock2:\n    return v3\n"
        .to_string();
    for at in 3..count {
        let (next, skipped) = (at + 1, (at + 50).min(count));
        let (test, place) = (at * 2 + 10, at * 2 + 11);
        // Writing to a string does not fail.
        let _ = write!(
            clif,
            "block{at}:\n    v{place} = iconst.i64 {}\n    v{test} = icmp eq v5, v{place}\n    \
             brif v{test}, block{next}, block{skipped}\n",
            at % 50
        );
    }
    let _ = write!(
        clif,
        "block{count}:\n    jump block1(v4)\n}}\n; print: %wide(20000)\n"
    );
    clif
}

#[test]
fn a_function_with_five_thousand_blocks_opens_within_two_seconds() {
    let browser = match browser() {
        Ok(browser) => browser,
        Err(missing) => return println!("skipped: {missing}"),
    };
    let page = browser.pictures.join("wide.html").display().to_string();
    let source = Scratch::new("wide.clif", &blocks(5_000));
    fine(&["run", "--html", &page, source.path()]);
    // Also on a machine that has more to do: the best of some.
    let said = drive(browser, "open.mjs", &[&*page; 5]).unwrap_or_else(|wrong| panic!("{wrong}"));
    let millis: Vec<u64> = said
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    println!("milliseconds until the graph was there: {millis:?}");
    assert!(millis.iter().any(|&millis| millis < 2000), "{millis:?}");
}

#[test]
fn a_hostile_report_is_opened_without_harm() {
    let browser = match browser() {
        Ok(browser) => browser,
        Err(missing) => return println!("skipped: {missing}"),
    };
    let (report, page) = (
        Scratch::new("hostile.json", ""),
        browser.pictures.join("hostile.html").display().to_string(),
    );
    let nested = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/clif/nested.clif");
    fine(&[
        "run",
        "--inspect",
        "--quiet",
        "--threshold",
        "20",
        "--report",
        report.path(),
        nested,
    ]);
    let evil =
        r#"</script><script>alert(1)</script><img src=https://example.org/x onerror=alert(2)>"#;
    let text = std::fs::read_to_string(report.path()).expect("it was written");
    let evil = evil.replace('"', "\\\"");
    for name in ["rectangle", "block1\"", "reg"] {
        assert!(text.contains(name), "{name}");
    }
    let text = text
        .replace("rectangle", &evil)
        .replace("block1\"", &format!("block1{evil}\""))
        .replace("\"tiered\"", &format!("\"{evil}\""));
    std::fs::write(report.path(), text).expect("it can be written");
    fine(&["report", report.path(), "--html", &page]);
    drive(browser, "open.mjs", &[&page]).unwrap_or_else(|wrong| panic!("{wrong}"));
}
