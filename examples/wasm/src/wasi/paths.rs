//! Functions on paths: each is relative to an open directory, and stays in it.

use super::abi::{path, write_size};
use super::errno::{Fault, INVAL, ISDIR, NOTSUP};
use super::files::{CHARACTERS, DIRECTORY, REGULAR, times};
use super::table::{Descriptor, Directory};
use super::{Call, State};
use crate::memory::Memory;
use cap_std::fs::{Dir, FileType, FileTypeExt, Metadata, MetadataExt, OpenOptions};
use std::fs::File;
use std::rc::Rc;

pub(super) const FUNCTIONS: &[(&str, &str, Call)] = &[
    ("path_create_directory", "iii", path_create_directory),
    ("path_filestat_get", "iiiii", path_filestat_get),
    (
        "path_filestat_set_times",
        "iiiiIIi",
        path_filestat_set_times,
    ),
    ("path_link", "iiiiiii", path_link),
    ("path_open", "iiiiiIIii", path_open),
    ("path_readlink", "iiiiii", path_readlink),
    ("path_remove_directory", "iii", path_remove_directory),
    ("path_rename", "iiiiii", path_rename),
    ("path_symlink", "iiiii", path_symlink),
    ("path_unlink_file", "iii", path_unlink_file),
    ("fd_readdir", "iiiIi", fd_readdir),
];

/// The directory and the path of a function whose first arguments are these.
fn at(
    state: &State,
    memory: &Memory,
    fd: u64,
    address: u64,
    length: u64,
) -> Result<(Rc<Directory>, String), Fault> {
    let directory = state.table.borrow().directory(fd)?;
    Ok((directory, path(memory, address, length)?))
}

fn path_create_directory(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (directory, path) = at(state, memory, args[0], args[1], args[2])?;
    Ok(directory.dir.create_dir(path)?)
}

fn path_remove_directory(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (directory, path) = at(state, memory, args[0], args[1], args[2])?;
    Ok(directory.dir.remove_dir(path)?)
}

fn path_unlink_file(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (directory, path) = at(state, memory, args[0], args[1], args[2])?;
    Ok(directory.dir.remove_file(path)?)
}

fn path_rename(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (from, old) = at(state, memory, args[0], args[1], args[2])?;
    let (to, new) = at(state, memory, args[3], args[4], args[5])?;
    Ok(from.dir.rename(old, &to.dir, new)?)
}

fn path_link(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (from, old) = at(state, memory, args[0], args[2], args[3])?;
    let (to, new) = at(state, memory, args[4], args[5], args[6])?;
    Ok(from.dir.hard_link(old, &to.dir, new)?)
}

fn path_symlink(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let target = path(memory, args[0], args[1])?;
    let (directory, link) = at(state, memory, args[2], args[3], args[4])?;
    // Absolute targets are refused here, all others when they are followed.
    Ok(directory.dir.symlink(target, link)?)
}

fn path_readlink(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (directory, path) = at(state, memory, args[0], args[1], args[2])?;
    let target = directory.dir.read_link(path)?;
    let bytes = target.as_os_str().as_encoded_bytes();
    let length = bytes.len().min(args[4] as usize);
    memory.write(args[3], &bytes[..length])?;
    write_size(memory, args[5], length as u64)
}

fn path_filestat_get(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (directory, path) = at(state, memory, args[0], args[2], args[3])?;
    let metadata = match args[1] & 1 != 0 {
        true => directory.dir.metadata(path)?,
        false => directory.dir.symlink_metadata(path)?,
    };
    write_stat(memory, args[4], &stat(&metadata))
}

fn path_filestat_set_times(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (directory, path) = at(state, memory, args[0], args[2], args[3])?;
    let follow = args[1] & 1 != 0;
    if !follow && directory.dir.symlink_metadata(&path)?.is_symlink() {
        return Err(NOTSUP);
    }
    let times = times(args[4], args[5], args[6]);
    let file = match directory.dir.metadata(&path)?.is_dir() {
        true => directory.dir.open_dir(&path)?.into_std_file(),
        false => directory.dir.open(&path)?.into_std(),
    };
    Ok(file.set_times(times)?)
}

const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 6;

fn path_open(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (directory, path) = at(state, memory, args[0], args[2], args[3])?;
    let (oflags, rights, fdflags) = (args[4], args[5], args[7]);
    let [create, only_directory, exclusive, truncate] = [1, 2, 4, 8].map(|flag| oflags & flag != 0);
    let follow = args[1] & 1 != 0;
    let known = match follow {
        true => directory.dir.metadata(&path),
        false => directory.dir.symlink_metadata(&path),
    };
    let is_directory = known.as_ref().is_ok_and(Metadata::is_dir);
    if known.as_ref().is_ok_and(Metadata::is_symlink) {
        return Err(Fault::Number(32));
    }
    let descriptor = if is_directory || only_directory {
        if create && exclusive && is_directory {
            return Err(Fault::Number(20));
        }
        if is_directory && (rights & WRITE != 0 || truncate) {
            return Err(ISDIR);
        }
        Descriptor::opened(directory.dir.open_dir(&path)?)
    } else {
        let append = fdflags & 1 != 0;
        let write = rights & WRITE != 0 || create || truncate;
        let mut options = OpenOptions::new();
        options
            .read(rights & READ != 0 || !write)
            .write(write && !append)
            .append(write && append)
            .truncate(truncate && !append)
            .create(create && !exclusive)
            .create_new(create && exclusive);
        let file = directory.dir.open_with(&path, &options)?.into_std();
        if truncate && append {
            file.set_len(0)?;
        }
        Descriptor::File {
            file: Rc::new(file),
            append,
        }
    };
    let number = state.table.borrow_mut().add(descriptor);
    write_size(memory, args[8], u64::from(number))
}

/// Lists a directory from the entry with the number `cookie` on, as far as there is room.
fn fd_readdir(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let &[fd, buffer, length, cookie, used] = args else {
        return Err(INVAL);
    };
    let directory = state.table.borrow().directory(fd)?;
    // What is above is none of the program's business: as at a root, it is the directory itself. An inode of 0 would
    // have the C library ask for the status of the path.
    let own = directory
        .dir
        .dir_metadata()
        .map_or(1, |own| own.ino().max(1));
    let mut entries = vec![
        (b".".to_vec(), DIRECTORY, own),
        (b"..".to_vec(), DIRECTORY, own),
    ];
    for entry in directory.dir.entries()? {
        let entry = entry?;
        let name = entry.file_name().as_encoded_bytes().to_vec();
        let inode = entry.metadata().map_or(0, |metadata| metadata.ino());
        entries.push((name, kind(entry.file_type()?), inode));
    }
    // An order of its own, so that a cookie means the same entry in the next call.
    entries[2..].sort();
    let mut bytes = vec![];
    for (index, (name, kind, inode)) in entries.iter().enumerate().skip(cookie as usize) {
        let next = index as u64 + 1;
        bytes.extend(next.to_le_bytes());
        bytes.extend(inode.to_le_bytes());
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend([*kind, 0, 0, 0]);
        bytes.extend(name);
        if bytes.len() as u64 >= length {
            break;
        }
    }
    bytes.truncate(length as usize);
    memory.write(buffer, &bytes)?;
    write_size(memory, used, bytes.len() as u64)
}

fn kind(ty: FileType) -> u8 {
    if ty.is_dir() {
        DIRECTORY
    } else if ty.is_file() {
        REGULAR
    } else if ty.is_symlink() {
        7
    } else if ty.is_block_device() {
        1
    } else if ty.is_char_device() {
        CHARACTERS
    } else {
        0
    }
}

/// What is known of a file, as WASI lays it out.
pub(super) type Stat = [u8; 64];

pub(super) fn stat(metadata: &Metadata) -> Stat {
    let nanos = |seconds: i64, nanos: i64| {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        let nanos = u64::try_from(nanos).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    };
    let words = [
        metadata.dev(),
        metadata.ino(),
        u64::from(kind(metadata.file_type())),
        metadata.nlink(),
        metadata.len(),
        nanos(metadata.atime(), metadata.atime_nsec()),
        nanos(metadata.mtime(), metadata.mtime_nsec()),
        nanos(metadata.ctime(), metadata.ctime_nsec()),
    ];
    let mut stat = [0; 64];
    for (bytes, word) in stat.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    stat
}

pub(super) fn directory_stat(dir: &Dir) -> Result<Stat, Fault> {
    Ok(stat(&dir.dir_metadata()?))
}

pub(super) fn file_stat(file: &File) -> Result<Stat, Fault> {
    Ok(stat(&Metadata::from_file(file)?))
}

pub(super) fn write_stat(memory: &Memory, at: u64, stat: &Stat) -> Result<(), Fault> {
    Ok(memory.write(at, stat)?)
}
