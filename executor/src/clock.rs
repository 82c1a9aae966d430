//! The clocks of processor time.
//!
//! Not here: who is sampled by such a clock (`samples`).

use std::time::Duration;

/// The processor time that all threads of the process have had.
pub fn process_time() -> Duration {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// The processor time that the calling thread has had.
pub fn thread_time() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a time of ours. The two clocks always exist, so that the result says nothing.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(time.tv_sec.unsigned_abs(), nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_part_of_the_time_of_its_process() {
        let before = (process_time(), thread_time());
        while thread_time() == before.1 {
            std::hint::black_box(0);
        }
        let after = thread_time();
        assert!(after > before.1);
        assert!(process_time() > before.0 && process_time() >= after - before.1);
    }
}
