//! Whatever comes over a connection: a message, or an error; never a panic, and nobody waits for ever.
//!
//! ```text
//!   bytes ─▶ decode ─▶ encode ─▶ decode          the same message
//!   packets ─▶ serve                             ends when the connection is closed
//!   engine ◀─ replies, packets, shared memory ─ an executor that is made of the case
//! ```
//!
//! The executor here runs no code: it answers, asks and scribbles as the case has it.

use super::{Sabotage, Stats, quietly};
use crate::generate::Source;
use cranelift_codegen::data_value::DataValue;
use regraft::config::ArenaConfig;
use regraft::{CompileMode, Config, Engine, Executor, ExecutorAddr, Pacing};
use regraft_executor::remote::message::{
    Down, MAX, Reply, Request, Reserved, Up, VERSION, decode, encode,
};
use regraft_executor::remote::serve::{Options, serve};
use regraft_executor::slots::EntryPoints;
use regraft_executor::trap::FaultKind;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// How long a case may take.
const BOUND: Duration = Duration::from_secs(20);

/// Checks the case that the bytes stand for.
///
/// # Errors
///
/// What went wrong.
pub fn check(bytes: &[u8], sabotage: Option<Sabotage>) -> Result<Stats, String> {
    let mut stats = Stats {
        cases: 1,
        ..Stats::default()
    };
    let start = Instant::now();
    let damage = sabotage == Some(Sabotage::DamageMessage);
    // As they are, and as a generator makes them.
    let mut source = Source::new(bytes);
    let raw = &bytes[..bytes.len().min(200)];
    let made: Vec<_> = (0..4).map(|_| up(&mut source)).collect();
    for bytes in made.iter().map(Vec::as_slice).chain([raw]) {
        for decoded in [
            both_ways::<Request>(bytes, damage),
            both_ways::<Reply>(bytes, damage),
            both_ways::<Down>(bytes, damage),
            both_ways::<Up>(bytes, damage),
        ] {
            let decoded = quietly(|| decoded.clone()).and_then(|decoded| decoded)?;
            stats.calls += usize::from(decoded);
            stats.sabotaged += usize::from(decoded && damage);
        }
    }
    served(&mut source)?;
    stats.entered += converse(&mut source)?;
    match start.elapsed() {
        time if time > BOUND => Err(format!("it took {time:?}")),
        _ => Ok(stats),
    }
}

/// What is decoded is encoded and decoded to the same; says whether anything was.
fn both_ways<T>(bytes: &[u8], damage: bool) -> Result<bool, String>
where
    T: DeserializeOwned + Serialize + PartialEq + Debug,
{
    let Ok(message) = decode::<T>(bytes) else {
        return Ok(false);
    };
    let mut buffer = vec![0; MAX];
    let encoded = encode(&message, &mut buffer);
    let mut encoded = encoded.map_err(|error| error.to_string())?.to_vec();
    if damage && let Some(last) = encoded.last_mut() {
        *last ^= 1;
    }
    match decode::<T>(&encoded) {
        Ok(again) if again == message => Ok(true),
        other => Err(format!("{message:?} has become {other:?}")),
    }
}

fn written(message: &impl Serialize) -> Vec<u8> {
    let mut buffer = vec![0; MAX];
    encode(message, &mut buffer).map_or(vec![], <[u8]>::to_vec)
}

/// A packet of an executor's thread, mostly a message.
fn up(source: &mut Source<'_>) -> Vec<u8> {
    let small = |source: &mut Source<'_>| source.below(6) as u32;
    let values = |source: &mut Source<'_>| {
        let lengths = [0, 15, 16, 16, 32, 1000];
        vec![source.bits() as u8; source.pick(&lengths)]
    };
    let address = |source: &mut Source<'_>| ExecutorAddr::new(source.bits() as usize);
    let message = match source.below(8) {
        0 => Up::Returned(values(source)),
        1 => Up::Trapped {
            kind: source.pick(&[
                FaultKind::Instruction,
                FaultKind::GuardPage,
                FaultKind::WildCall,
            ]),
            signal: source.bits() as i32,
            pc: address(source),
            address: source.percent(50).then(|| address(source)),
        },
        2 | 3 => Up::Resolve {
            session: source.below(2) as u32,
            unit: small(source),
        },
        4 | 5 => Up::Hot {
            session: source.below(2) as u32,
            unit: small(source),
        },
        6 => Up::Host {
            session: 0,
            function: small(source),
            values: values(source),
        },
        _ => Up::Refused {
            reason: "no".to_string(),
        },
    };
    damaged(source, written(&message))
}

/// Mostly as it is.
fn damaged(source: &mut Source<'_>, mut bytes: Vec<u8>) -> Vec<u8> {
    if source.percent(85) || bytes.is_empty() {
        return bytes;
    }
    let at = source.below(bytes.len());
    match source.below(3) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << source.below(8),
        _ => bytes.push(source.bits() as u8),
    }
    bytes
}

fn pair() -> Result<(OwnedFd, OwnedFd), String> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None)
        .map_err(|error| error.to_string())
}

/// An executor is sent packets without end or sense, and ends with the connection.
fn served(source: &mut Source<'_>) -> Result<(), String> {
    let (ours, theirs) = pair()?;
    let options = Options {
        patience: Duration::ZERO,
        ..Options::default()
    };
    let executor = std::thread::spawn(move || serve(theirs, &options));
    let mut requests = vec![Request::Hello { version: VERSION }];
    for _ in 0..source.below(6) {
        requests.push(match source.below(9) {
            8 => Request::Sample {
                session: source.below(2) as u32,
                interval: source.bits(),
            },
            5 => Request::Range {
                session: source.below(2) as u32,
                bytes: source.bits(),
                reserved: source.bits(),
            },
            6 => Request::Commit {
                session: source.below(2) as u32,
                range: source.below(2) as u32,
                bytes: source.bits(),
            },
            7 => Request::Unmap {
                session: source.below(2) as u32,
                range: source.below(2) as u32,
            },
            0 => Request::Symbol {
                name: "malloc".to_string(),
                library_call: source.percent(50),
            },
            1 => Request::Barrier {
                session: source.below(2) as u32,
                start: ExecutorAddr::new(source.bits() as usize),
                len: source.bits(),
                reused: true,
            },
            2 => Request::Lane,
            3 => Request::Reserve {
                code: source.bits(),
                data: source.bits(),
            },
            _ => Request::Release { session: 0 },
        });
    }
    for request in requests {
        let bytes = damaged(source, written(&request));
        if rustix::net::send(&ours, &bytes, SendFlags::NOSIGNAL).is_err() {
            break;
        }
    }
    // What it has answered is not read; it must not wait for that.
    drop(ours);
    match executor.join() {
        Ok(_) => Ok(()),
        Err(_) => Err("the executor panicked".to_string()),
    }
}

/// What the made executor will say, drawn before it begins.
struct Script {
    hello: Vec<u8>,
    reserved: Vec<u8>,
    other: Vec<Vec<u8>>,
    lane: Vec<Vec<u8>>,
    scribbles: Vec<(u64, u64)>,
}

fn script(source: &mut Source<'_>) -> Script {
    let hello = written(&Reply::Hello {
        version: VERSION,
        architecture: std::env::consts::ARCH.to_string(),
    });
    let reserved = written(&Reply::Reserved(Reserved {
        session: 0,
        start: ExecutorAddr::new(match source.percent(90) {
            true => 0x7000_0000_0000,
            false => source.bits() as usize,
        }),
        points: EntryPoints::here(),
        owner: ExecutorAddr::new(source.bits() as usize),
        host: ExecutorAddr::new(source.bits() as usize),
    }));
    let other = |source: &mut Source<'_>| {
        let reply = match source.below(20) {
            0 => Reply::Symbol(Some(ExecutorAddr::new(1))),
            1 => Reply::Range {
                range: source.below(3) as u32,
                start: ExecutorAddr::new(source.bits() as usize),
            },
            _ => Reply::Done,
        };
        damaged(source, written(&reply))
    };
    Script {
        hello: damaged(source, hello),
        reserved: damaged(source, reserved),
        other: (0..8).map(|_| other(source)).collect(),
        lane: (0..source.below(12)).map(|_| up(source)).collect(),
        scribbles: (0..source.below(40))
            .map(|_| (source.below(1 << 13) as u64 * 8, source.bits()))
            .collect(),
    }
}

/// An engine works with an executor that is made of the case. How many messages of its lane were answered.
fn converse(source: &mut Source<'_>) -> Result<u64, String> {
    let (ours, theirs) = pair()?;
    let script = script(source);
    let executor = std::thread::spawn(move || pretend(&theirs, &script));
    let worked = quietly(|| work(ours));
    let answered = executor.join();
    worked?;
    answered.map_err(|_| "the made executor panicked".to_string())?
}

/// What an engine does; all of it may fail.
fn work(connection: OwnedFd) {
    const SUM: &str = "function %sum(i64) -> i64 system_v {
block0(v0: i64):
    jump block1(v0)
block1(v1: i64):
    v2 = iconst.i64 1
    v3 = isub v1, v2
    brif v3, block1(v3), block2
block2:
    return v3
}";
    let Ok(executor) = Executor::over(connection) else {
        return;
    };
    let Ok(engine) = Engine::new(
        Config::default()
            .compile(CompileMode::Synchronous)
            .pacing(Pacing::Counts)
            .arena(ArenaConfig {
                code_bytes: 1 << 20,
                data_bytes: 1 << 20,
            })
            .executor(executor),
    ) else {
        return;
    };
    let functions = cranelift_reader::parse_functions(SUM).unwrap_or_default();
    for func in functions {
        let Ok(id) = engine.define_function(func) else {
            continue;
        };
        for _ in 0..3 {
            // SAFETY: nothing is run.
            let _ = unsafe { engine.call(id, &[DataValue::I64(3)]) };
        }
    }
    if let Ok(range) = engine.program_range(1 << 20, 1 << 16) {
        let _ = (range.commit(1 << 12), range.write(0, &[1; 100]));
        let mut bytes = [0; 100];
        let _ = range.read(17, &mut bytes);
    }
    let _ = (engine.profile(), engine.report());
    engine.collect();
}

/// Answers requests, and says its lines on every lane.
fn pretend(control: &OwnedFd, script: &Script) -> Result<u64, String> {
    let mut answered = 0;
    let mut others = script.other.iter();
    let mut data = None;
    while let Some((bytes, descriptors)) = receive(control) {
        let reply = match decode::<Request>(&bytes) {
            Ok(Request::Hello { .. }) => &script.hello,
            Ok(Request::Reserve { .. }) => {
                let mut files = descriptors.into_iter().map(File::from);
                if files
                    .next()
                    .is_some_and(|code| code.write_at(&[0], 0).is_ok())
                {
                    return Err("the executor can write code".to_string());
                }
                data = files.next();
                &script.reserved
            }
            Ok(Request::Lane) => {
                let lane = descriptors.into_iter().next();
                let lines = script.lane.clone();
                let data = data.as_ref().and_then(|data| data.try_clone().ok());
                let scribbles = script.scribbles.clone();
                std::thread::spawn(move || {
                    for (at, word) in scribbles {
                        let _ = data.as_ref()?.write_at(&word.to_ne_bytes(), at);
                    }
                    let lane = lane?;
                    for line in lines {
                        receive(&lane)?;
                        rustix::net::send(&lane, &line, SendFlags::NOSIGNAL).ok()?;
                    }
                    Some(())
                });
                answered += script.lane.len() as u64;
                match others.next() {
                    Some(other) => other,
                    None => break,
                }
            }
            Ok(_) => match others.next() {
                Some(other) => other,
                None => break,
            },
            Err(error) => return Err(format!("the engine sent no request: {error}")),
        };
        if rustix::net::send(control, reply, SendFlags::NOSIGNAL).is_err() {
            break;
        }
    }
    Ok(answered)
}

/// A packet and its descriptors; `None` when there are no more.
fn receive(socket: &OwnedFd) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
    let mut buffer = vec![0; MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let received = rustix::net::recvmsg(socket, &mut slices, &mut along, RecvFlags::CMSG_CLOEXEC);
    let len = received.ok()?.bytes;
    let mut descriptors = vec![];
    for message in along.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    buffer.truncate(len);
    (len > 0).then_some((buffer, descriptors))
}
