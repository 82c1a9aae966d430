//! Functions on descriptors.

use super::abi::{gather, scatter, write_size, write_u64};
use super::errno::{BADF, Fault, INVAL, NAMETOOLONG};
use super::paths::{directory_stat, file_stat, write_stat};
use super::table::Descriptor;
use super::{Call, State};
use crate::memory::Memory;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::FileTimes;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) const FUNCTIONS: &[(&str, &str, Call)] = &[
    ("fd_advise", "iIIi", fd_advise),
    ("fd_allocate", "iII", fd_allocate),
    ("fd_close", "i", fd_close),
    ("fd_datasync", "i", fd_sync),
    ("fd_sync", "i", fd_sync),
    ("fd_fdstat_get", "ii", fd_fdstat_get),
    ("fd_fdstat_set_flags", "ii", fd_fdstat_set_flags),
    ("fd_fdstat_set_rights", "iII", fd_advise),
    ("fd_filestat_get", "ii", fd_filestat_get),
    ("fd_filestat_set_size", "iI", fd_filestat_set_size),
    ("fd_filestat_set_times", "iIIi", fd_filestat_set_times),
    ("fd_read", "iiii", fd_read),
    ("fd_pread", "iiiIi", fd_pread),
    ("fd_write", "iiii", fd_write),
    ("fd_pwrite", "iiiIi", fd_pwrite),
    ("fd_seek", "iIii", fd_seek),
    ("fd_tell", "ii", fd_tell),
    ("fd_renumber", "ii", fd_renumber),
    ("fd_prestat_get", "ii", fd_prestat_get),
    ("fd_prestat_dir_name", "iii", fd_prestat_dir_name),
];

/// Kinds of files.
pub(super) const CHARACTERS: u8 = 2;
pub(super) const DIRECTORY: u8 = 3;
pub(super) const REGULAR: u8 = 4;

/// Advice is free to ignore; rights are not checked.
fn fd_advise(state: &State, _: &Memory, args: &[u64]) -> Result<(), Fault> {
    state.table.borrow().get(args[0]).map(|_| ())
}

fn fd_allocate(state: &State, _: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (file, _) = state.table.borrow().file(args[0])?;
    let end = args[1].checked_add(args[2]).ok_or(INVAL)?;
    if file.metadata()?.len() < end {
        file.set_len(end)?;
    }
    Ok(())
}

fn fd_close(state: &State, _: &Memory, args: &[u64]) -> Result<(), Fault> {
    state.table.borrow_mut().close(args[0]).map(|_| ())
}

fn fd_sync(state: &State, _: &Memory, args: &[u64]) -> Result<(), Fault> {
    match state.table.borrow().get(args[0])? {
        Descriptor::File { file, .. } => Ok(file.sync_all()?),
        _ => Ok(()),
    }
}

fn fd_fdstat_get(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let descriptor = state.table.borrow().get(args[0])?;
    // Programs tell a terminal from a file by its missing right to seek.
    const SEEK_AND_TELL: u64 = 1 << 2 | 1 << 5;
    let stream = |terminal: bool| match terminal {
        true => (CHARACTERS, !SEEK_AND_TELL),
        false => (0, !SEEK_AND_TELL),
    };
    let ((kind, rights), append) = match &descriptor {
        Descriptor::Input => (stream(io::stdin().is_terminal()), false),
        Descriptor::Output => (stream(io::stdout().is_terminal()), false),
        Descriptor::Error => (stream(io::stderr().is_terminal()), false),
        Descriptor::File { append, .. } => ((REGULAR, u64::MAX), *append),
        Descriptor::Directory(_) => ((DIRECTORY, u64::MAX), false),
    };
    let mut stat = [0; 24];
    stat[0] = kind;
    stat[2] = u8::from(append);
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    stat[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    Ok(memory.write(args[1], &stat)?)
}

fn fd_fdstat_set_flags(state: &State, _: &Memory, args: &[u64]) -> Result<(), Fault> {
    let wanted = args[1] & 1 != 0;
    let descriptor = state.table.borrow().get(args[0])?;
    match descriptor {
        Descriptor::File { file, append } if append != wanted => {
            let mut flags = fcntl_getfl(&*file).map_err(std::io::Error::from)?;
            flags.set(OFlags::APPEND, wanted);
            fcntl_setfl(&*file, flags).map_err(std::io::Error::from)?;
            let append = wanted;
            let changed = Descriptor::File { file, append };
            state.table.borrow_mut().replace(args[0], changed)
        }
        _ => Ok(()),
    }
}

fn fd_filestat_get(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let descriptor = state.table.borrow().get(args[0])?;
    match descriptor {
        Descriptor::File { file, .. } => write_stat(memory, args[1], &file_stat(&file)?),
        Descriptor::Directory(directory) => {
            write_stat(memory, args[1], &directory_stat(&directory.dir)?)
        }
        _ => {
            let mut stat = [0; 64];
            stat[16] = CHARACTERS;
            write_stat(memory, args[1], &stat)
        }
    }
}

fn fd_filestat_set_size(state: &State, _: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (file, _) = state.table.borrow().file(args[0])?;
    Ok(file.set_len(args[1])?)
}

fn fd_filestat_set_times(state: &State, _: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (file, _) = state.table.borrow().file(args[0])?;
    Ok(file.set_times(times(args[1], args[2], args[3]))?)
}

/// Times to set: access and modification, each given, now, or as it is.
pub(super) fn times(accessed: u64, modified: u64, flags: u64) -> FileTimes {
    let at = |given: u64, exact: u64, now: u64| match flags {
        flags if flags & now != 0 => Some(SystemTime::now()),
        flags if flags & exact != 0 => Some(UNIX_EPOCH + Duration::from_nanos(given)),
        _ => None,
    };
    let mut times = FileTimes::new();
    if let Some(time) = at(accessed, 1, 2) {
        times = times.set_accessed(time);
    }
    if let Some(time) = at(modified, 4, 8) {
        times = times.set_modified(time);
    }
    times
}

fn fd_read(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let descriptor = state.table.borrow().get(args[0])?;
    let read = scatter(memory, args[1], args[2], |into, _| match &descriptor {
        Descriptor::Input => match &state.input {
            Some(input) => Ok(input.borrow_mut().read(into)?),
            None => Ok(io::stdin().lock().read(into)?),
        },
        Descriptor::File { file, .. } => Ok((&**file).read(into)?),
        _ => Err(BADF),
    })?;
    write_size(memory, args[3], read)
}

fn fd_pread(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (file, _) = state.table.borrow().file(args[0])?;
    let from = args[3];
    let read = scatter(memory, args[1], args[2], |into, done| {
        Ok(file.read_at(into, from.saturating_add(done))?)
    })?;
    write_size(memory, args[4], read)
}

fn fd_write(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let descriptor = state.table.borrow().get(args[0])?;
    let bytes = gather(memory, args[1], args[2])?;
    match descriptor {
        Descriptor::Output => match &state.output {
            Some(output) => output.borrow_mut().extend(&bytes),
            None => {
                let mut stream = io::stdout().lock();
                stream.write_all(&bytes)?;
                stream.flush()?;
            }
        },
        Descriptor::Error => match &state.error {
            Some(error) => error.borrow_mut().extend(&bytes),
            None => io::stderr().lock().write_all(&bytes)?,
        },
        Descriptor::File { file, .. } => (&*file).write_all(&bytes)?,
        _ => return Err(BADF),
    }
    write_size(memory, args[3], bytes.len() as u64)
}

fn fd_pwrite(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (file, _) = state.table.borrow().file(args[0])?;
    let bytes = gather(memory, args[1], args[2])?;
    file.write_all_at(&bytes, args[3])?;
    write_size(memory, args[4], bytes.len() as u64)
}

fn fd_seek(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (file, _) = state.table.borrow().file(args[0])?;
    let to = match args[2] {
        0 => SeekFrom::Start(args[1]),
        1 => SeekFrom::Current(args[1].cast_signed()),
        2 => SeekFrom::End(args[1].cast_signed()),
        _ => return Err(INVAL),
    };
    let at = (&*file).seek(to)?;
    write_u64(memory, args[3], at)
}

fn fd_tell(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let (file, _) = state.table.borrow().file(args[0])?;
    let at = (&*file).stream_position()?;
    write_u64(memory, args[1], at)
}

fn fd_renumber(state: &State, _: &Memory, args: &[u64]) -> Result<(), Fault> {
    state.table.borrow_mut().renumber(args[0], args[1])
}

fn fd_prestat_get(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let directory = state.table.borrow().directory(args[0]).map_err(|_| BADF)?;
    let name = directory.name.as_ref().ok_or(BADF)?;
    memory.write(args[1], &[0; 4])?;
    write_size(memory, args[1] + 4, name.len() as u64)
}

fn fd_prestat_dir_name(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let directory = state.table.borrow().directory(args[0])?;
    let name = directory.name.as_ref().ok_or(BADF)?;
    if (name.len() as u64) > args[2] {
        return Err(NAMETOOLONG);
    }
    Ok(memory.write(args[1], name.as_bytes())?)
}
