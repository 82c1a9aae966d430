//! How WASI's values lie in memory.

use super::errno::{FAULT, Fault, ILSEQ, NAMETOOLONG, OVERFLOW};
use crate::memory::Memory;

/// The longest path that is taken.
const MAX_PATH: u64 = 4096;
/// More buffers than this in one call are refused.
const MAX_BUFFERS: u64 = 1024;

pub(super) fn read_u16(memory: &Memory, at: u64) -> Result<u16, Fault> {
    let mut bytes = [0; 2];
    memory.read(at, &mut bytes)?;
    Ok(u16::from_le_bytes(bytes))
}

pub(super) fn read_u32(memory: &Memory, at: u64) -> Result<u32, Fault> {
    let mut bytes = [0; 4];
    memory.read(at, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

pub(super) fn read_u64(memory: &Memory, at: u64) -> Result<u64, Fault> {
    let mut bytes = [0; 8];
    memory.read(at, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Writes a size as 32 bits.
pub(super) fn write_size(memory: &Memory, at: u64, size: u64) -> Result<(), Fault> {
    let size = u32::try_from(size).map_err(|_| OVERFLOW)?;
    Ok(memory.write(at, &size.to_le_bytes())?)
}

pub(super) fn write_u64(memory: &Memory, at: u64, value: u64) -> Result<(), Fault> {
    Ok(memory.write(at, &value.to_le_bytes())?)
}

/// A path: UTF-8 of a bounded length, without zeros.
pub(super) fn path(memory: &Memory, at: u64, length: u64) -> Result<String, Fault> {
    if length > MAX_PATH {
        return Err(NAMETOOLONG);
    }
    let text = String::from_utf8(memory.read_vec(at, length)?).map_err(|_| ILSEQ)?;
    if text.contains('\0') {
        return Err(ILSEQ);
    }
    Ok(text)
}

/// The buffers of a scattered read or gathered write: address and length, all inside of the memory.
pub(super) fn buffers(memory: &Memory, at: u64, count: u64) -> Result<Vec<(u64, u64)>, Fault> {
    if count > MAX_BUFFERS {
        return Err(super::errno::INVAL);
    }
    let mut buffers = vec![];
    let mut total = 0u64;
    for index in 0..count {
        let entry = at + index * 8;
        let (address, length) = (read_u32(memory, entry)?, read_u32(memory, entry + 4)?);
        let (address, length) = (u64::from(address), u64::from(length));
        if address + length > memory.size() {
            return Err(FAULT);
        }
        total += length;
        if u32::try_from(total).is_err() {
            return Err(OVERFLOW);
        }
        buffers.push((address, length));
    }
    Ok(buffers)
}

/// What the buffers hold.
pub(super) fn gather(memory: &Memory, at: u64, count: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![];
    for (address, length) in buffers(memory, at, count)? {
        bytes.extend(memory.read_vec(address, length)?);
    }
    Ok(bytes)
}

/// Fills the buffers one after the other; `read` gives as much as it has, less at the end. Returns how many
/// bytes there were.
pub(super) fn scatter(
    memory: &Memory,
    at: u64,
    count: u64,
    mut read: impl FnMut(&mut [u8], u64) -> Result<usize, Fault>,
) -> Result<u64, Fault> {
    const CHUNK: u64 = 1 << 20;
    let mut total = 0;
    for (address, length) in buffers(memory, at, count)? {
        let mut done = 0;
        while done < length {
            let chunk = (length - done).min(CHUNK);
            let mut bytes = vec![0; chunk as usize];
            let got = read(&mut bytes, total)?;
            memory.write(address + done, &bytes[..got])?;
            done += got as u64;
            total += got as u64;
            if (got as u64) < chunk {
                return Ok(total);
            }
        }
    }
    Ok(total)
}
