//! Arguments, environment, clocks, random numbers, waiting.

use super::abi::{read_u16, read_u32, read_u64, write_size, write_u64};
use super::errno::{Fault, INVAL, NOTSUP};
use super::{Call, State};
use crate::memory::Memory;
use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) const FUNCTIONS: &[(&str, &str, Call)] = &[
    ("args_get", "ii", args_get),
    ("args_sizes_get", "ii", args_sizes_get),
    ("environ_get", "ii", environ_get),
    ("environ_sizes_get", "ii", environ_sizes_get),
    ("clock_res_get", "ii", clock_res_get),
    ("clock_time_get", "iIi", clock_time_get),
    ("random_get", "ii", random_get),
    ("poll_oneoff", "iiii", poll_oneoff),
    ("sched_yield", "", sched_yield),
    ("proc_raise", "i", not_supported),
    ("sock_accept", "iii", not_supported),
    ("sock_recv", "iiiiii", not_supported),
    ("sock_send", "iiiii", not_supported),
    ("sock_shutdown", "ii", not_supported),
];

fn not_supported(_: &State, _: &Memory, _: &[u64]) -> Result<(), Fault> {
    Err(NOTSUP)
}

fn args_get(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    strings(memory, &state.arguments, args[0], args[1])
}

fn args_sizes_get(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    sizes(memory, &state.arguments, args[0], args[1])
}

fn environ_get(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    strings(memory, &state.environment, args[0], args[1])
}

fn environ_sizes_get(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    sizes(memory, &state.environment, args[0], args[1])
}

/// Writes strings one after the other, and their addresses.
fn strings(memory: &Memory, strings: &[Vec<u8>], table: u64, mut at: u64) -> Result<(), Fault> {
    for (index, string) in strings.iter().enumerate() {
        write_size(memory, table + index as u64 * 4, at)?;
        memory.write(at, string)?;
        at += string.len() as u64;
    }
    Ok(())
}

fn sizes(memory: &Memory, strings: &[Vec<u8>], count: u64, size: u64) -> Result<(), Fault> {
    write_size(memory, count, strings.len() as u64)?;
    let bytes: usize = strings.iter().map(Vec::len).sum();
    write_size(memory, size, bytes as u64)
}

fn clock_res_get(_: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    if args[0] > 3 {
        return Err(INVAL);
    }
    write_u64(memory, args[1], 1)
}

fn clock_time_get(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    write_u64(memory, args[2], now(state, args[0])?)
}

/// The time of a clock in nanoseconds. Processor time is the time since the start.
fn now(state: &State, clock: u64) -> Result<u64, Fault> {
    let time = match clock {
        0 => SystemTime::now().duration_since(UNIX_EPOCH).ok(),
        1..=3 => Some(state.start.elapsed()),
        _ => None,
    };
    let nanos = time.ok_or(INVAL)?.as_nanos();
    u64::try_from(nanos).map_err(|_| INVAL)
}

fn random_get(_: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let mut random = std::fs::File::open("/dev/urandom")?;
    let mut left = args[1];
    let mut at = args[0];
    while left > 0 {
        let mut bytes = vec![0; left.min(65_536) as usize];
        random.read_exact(&mut bytes)?;
        memory.write(at, &bytes)?;
        at += bytes.len() as u64;
        left -= bytes.len() as u64;
    }
    Ok(())
}

fn sched_yield(_: &State, _: &Memory, _: &[u64]) -> Result<(), Fault> {
    std::thread::yield_now();
    Ok(())
}

const SUBSCRIPTION: u64 = 48;
const EVENT: u64 = 32;
const CLOCK: u8 = 0;

/// Waits for one of several events. A descriptor is always ready; clocks are slept for.
fn poll_oneoff(state: &State, memory: &Memory, args: &[u64]) -> Result<(), Fault> {
    let &[subscriptions, events, count, written] = args else {
        return Err(INVAL);
    };
    if count == 0 || count > 4096 {
        return Err(INVAL);
    }
    let mut ready = vec![];
    let mut sleep: Option<(u64, u64)> = None;
    for index in 0..count {
        let at = subscriptions + index * SUBSCRIPTION;
        let user = read_u64(memory, at)?;
        let mut tag = [0];
        memory.read(at + 8, &mut tag)?;
        if tag[0] != CLOCK {
            ready.push((user, tag[0]));
            continue;
        }
        let clock = u64::from(read_u32(memory, at + 16)?);
        let timeout = read_u64(memory, at + 24)?;
        let absolute = read_u16(memory, at + 40)? & 1 != 0;
        let wait = match absolute {
            true => timeout.saturating_sub(now(state, clock)?),
            false => timeout,
        };
        if sleep.is_none_or(|(shortest, _)| wait < shortest) {
            sleep = Some((wait, user));
        }
    }
    if ready.is_empty()
        && let Some((wait, user)) = sleep
    {
        std::thread::sleep(Duration::from_nanos(wait));
        ready.push((user, CLOCK));
    }
    for (index, (user, tag)) in ready.iter().enumerate() {
        let mut event = [0; EVENT as usize];
        event[..8].copy_from_slice(&user.to_le_bytes());
        event[10] = *tag;
        memory.write(events + index as u64 * EVENT, &event)?;
    }
    write_size(memory, written, ready.len() as u64)
}
