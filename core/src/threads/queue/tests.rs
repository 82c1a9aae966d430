//! Which job is the next, and what becomes of it.

use super::*;
use std::sync::atomic::AtomicUsize;

/// What became of jobs.
#[derive(Debug, Default)]
struct Log {
    run: AtomicUsize,
    forgotten: AtomicUsize,
}

#[derive(Debug)]
struct Fake {
    /// Of an obsolete one, negative.
    urgency: f64,
    is_cold: bool,
    log: Arc<Log>,
}

impl Job for Fake {
    fn urgency(&self) -> f64 {
        self.urgency
    }

    fn to_afford(&self) -> Option<usize> {
        // Told apart by it here.
        Some(self.urgency as usize)
    }

    fn has_gone_cold(&self) -> bool {
        self.is_cold
    }

    fn is_obsolete(&self) -> bool {
        self.urgency < 0.0
    }

    fn forget(self: Box<Self>) {
        self.log.forgotten.fetch_add(1, Ordering::Relaxed);
    }

    fn run(self: Box<Self>, _stopped: bool) -> Ended {
        self.log.run.fetch_add(1, Ordering::Relaxed);
        Ended::Done
    }
}

fn queued(tally: &Arc<Tally>, urgency: f64, is_cold: bool, log: &Arc<Log>) -> Queued {
    Queued {
        job: Box::new(Fake {
            urgency,
            is_cold,
            log: Arc::clone(log),
        }),
        ticket: Ticket::new(tally),
    }
}

const AT_ONCE: &dyn Fn(&dyn Job) -> Option<Duration> = &|_| None;

#[test]
fn what_is_not_afforded_keeps_back_what_is_less_urgent() {
    let (queue, tally, log) = (Queue::default(), Arc::default(), Arc::default());
    for urgency in [1.0, 3.0, 2.0] {
        queue.push(queued(&tally, urgency, false, &log));
    }
    // The most urgent is asked about, and no other.
    let asked = Mutex::new(vec![]);
    let wait = |job: &dyn Job| {
        lock(&asked).push(job.to_afford());
        (lock(&asked).len() < 3).then_some(Duration::from_micros(100))
    };
    let next = queue.next(None, &wait);
    assert!(next.is_ok_and(|next| next.job.urgency() == 3.0));
    assert_eq!(*lock(&asked), [Some(3); 3]);
    // Who has something due does not wait for longer than that.
    let never = |_: &dyn Job| Some(Duration::from_secs(3_600));
    assert!(matches!(
        queue.next(Some(Instant::now()), &never),
        Err(Idle::Due)
    ));
    // A closed queue is emptied.
    queue.close();
    for urgency in [2.0, 1.0] {
        let next = queue.next(None, &never);
        assert!(next.is_ok_and(|next| next.job.urgency() == urgency));
    }
    assert!(matches!(queue.next(None, AT_ONCE), Err(Idle::Closed)));
    assert_eq!(*lock(&tally.open), 0);
}

#[test]
fn a_job_that_waits_is_looked_at_again_when_somebody_waits_for_it() {
    let (queue, tally, log) = (Queue::default(), Arc::<Tally>::default(), Arc::default());
    queue.push(queued(&tally, 1.0, false, &log));
    let wait = |_: &dyn Job| (!tally.budget.is_awaited()).then_some(Duration::from_secs(3_600));
    std::thread::scope(|scope| {
        let next = scope.spawn(|| queue.next(None, &wait).is_ok());
        let found = tally.budget.hurry(|| {
            // The other may be about to wait.
            while !next.is_finished() {
                queue.look_again();
                std::thread::yield_now();
            }
            next.join()
        });
        assert!(matches!(found, Ok(true)));
    });
}

#[test]
fn what_has_gone_cold_is_forgotten_where_processors_are_wanted() {
    let log: Arc<Log> = Arc::default();
    let counts = || {
        let [run, forgotten] =
            [&log.run, &log.forgotten].map(|count| count.swap(0, Ordering::Relaxed));
        (run, forgotten)
    };
    for (is_cold, contended, expected) in [
        (true, true, (0, 1)),
        (false, true, (1, 0)),
        (true, false, (1, 0)),
    ] {
        let tally: Arc<Tally> = Arc::default();
        tally.contention.pretend(contended);
        queued(&tally, 1.0, is_cold, &log).run_if_hot();
        assert_eq!(counts(), expected);
        assert_eq!(*lock(&tally.open), 0);
        // What somebody waits for is run, and what is stopped is told so.
        tally
            .budget
            .hurry(|| queued(&tally, 1.0, is_cold, &log).run_if_hot());
        assert_eq!(counts(), (1, 0));
        tally.stopped.store(true, Ordering::Release);
        queued(&tally, 1.0, is_cold, &log).run_if_hot();
        assert_eq!(counts(), (1, 0));
        assert_eq!(tally.finished.load(Ordering::Relaxed), 3);
    }
}

#[test]
fn what_is_obsolete_leaves_the_queue_with_the_next_look() {
    let (queue, tally, log) = (Queue::default(), Arc::default(), Arc::default());
    for _ in 0..1_000 {
        queue.push(queued(&tally, -1.0, false, &log));
    }
    for urgency in [1.0, 2.0] {
        queue.push(queued(&tally, urgency, false, &log));
    }
    let next = queue.next(None, AT_ONCE);
    assert!(next.is_ok_and(|next| next.job.urgency() == 2.0));
    assert_eq!(lock(&queue.jobs).jobs.len(), 1);
    // What was taken here is dropped.
    assert_eq!(*lock(&tally.open), 1);
    assert_eq!(log.run.load(Ordering::Relaxed), 0);
}
