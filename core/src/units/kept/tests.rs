//! Files of kept code: whole, cut off, and with every bit turned once.

use super::*;

fn digest(text: &str) -> Digest {
    Digest::of([text])
}

fn folder(name: &str) -> PathBuf {
    let process = std::process::id();
    let folder = std::env::temp_dir().join(format!("regraft-kept-{process}-{name}"));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn open(folder: &Path, settings: &str) -> Kept {
    Kept::open(WarmStart::new(folder, digest("program")), digest(settings))
}

fn saved(name: &str) -> PathBuf {
    let folder = folder(name);
    let kept = open(&folder, "settings");
    kept.add(digest("a"), b"code of a".to_vec());
    kept.add(digest("b"), vec![]);
    kept.save().unwrap();
    folder
}

#[test]
fn what_is_saved_is_found_by_its_key_alone() {
    let folder = saved("found");
    let kept = open(&folder, "settings");
    assert_eq!(kept.find(&digest("a")), Some(b"code of a".as_slice()));
    assert_eq!(kept.find(&digest("b")), Some(b"".as_slice()));
    assert_eq!(kept.find(&digest("c")), None);
    // More is added to what was there.
    kept.add(digest("c"), b"code of c".to_vec());
    kept.save().unwrap();
    let kept = open(&folder, "settings");
    assert_eq!(kept.find(&digest("a")), Some(b"code of a".as_slice()));
    assert_eq!(kept.find(&digest("c")), Some(b"code of c".as_slice()));
    // Other settings have a file of their own, and nothing is left beside.
    assert_eq!(open(&folder, "others").find(&digest("a")), None);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn no_bit_can_be_turned_unnoticed() {
    let folder = saved("bits");
    let path = open(&folder, "settings").path("code");
    let bytes = fs::read(&path).unwrap();
    let mut lost = 0;
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, damaged).unwrap();
        let kept = open(&folder, "settings");
        for (key, content) in [("a", b"code of a".as_slice()), ("b", b"")] {
            match kept.find(&digest(key)) {
                Some(found) => assert_eq!(found, content, "bit {bit}"),
                None => lost += 1,
            }
        }
        // The run compiles anew, and leaves what is right.
        kept.add(digest("a"), b"code of a".to_vec());
    }
    assert!(lost > bytes.len() * 8 / 2, "{lost}");
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let kept = open(&folder, "settings");
        let found = kept.find(&digest("a"));
        assert!(found.is_none_or(|found| found == b"code of a"));
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn damage_is_repaired_by_what_comes_next() {
    let folder = saved("repaired");
    let path = open(&folder, "settings").path("code");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(9).position(|part| part == b"code of a");
    bytes[at.unwrap()] ^= 1;
    fs::write(&path, bytes).unwrap();
    let kept = open(&folder, "settings");
    assert!(kept.has(&digest("a")));
    assert_eq!(kept.find(&digest("a")), None);
    assert!(!kept.has(&digest("a")));
    kept.add(digest("a"), b"code of a".to_vec());
    kept.save().unwrap();
    let found = open(&folder, "settings");
    assert_eq!(found.find(&digest("a")), Some(b"code of a".as_slice()));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_nobody_asks_for_goes() {
    let folder = saved("idle");
    for run in 0..IDLE_RUNS {
        let kept = open(&folder, "settings");
        assert_eq!(kept.find(&digest("a")), Some(b"code of a".as_slice()));
        kept.add(digest(&format!("run {run}")), vec![run]);
        kept.save().unwrap();
    }
    let kept = open(&folder, "settings");
    assert!(kept.has(&digest("a")));
    assert!(!kept.has(&digest("b")));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_others_can_write_is_not_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = saved("others");
    let path = open(&folder, "settings").path("code");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(open(&folder, "settings").find(&digest("a")), None);
    fs::remove_dir_all(folder).unwrap();
}
