use super::*;

fn only(account: &Account) -> ThreadReport {
    let mut report = account.report();
    assert_eq!(report.threads.len(), 1, "{report:?}");
    report.threads.remove(0)
}

fn spin(time: Duration) {
    let since = Instant::now();
    while since.elapsed() < time {}
}

const SHORT: Duration = Duration::from_millis(2);

#[test]
fn a_phase_within_a_phase_stops_the_outer_one() {
    let account = Arc::new(Account::default());
    let outer = account.enter(Phase::Extract);
    let inner = account.enter(Phase::Check);
    spin(SHORT);
    drop(inner);
    drop(outer);
    spin(SHORT);
    let times = only(&account);
    assert!(times.phases[&Phase::Check] >= 2_000, "{times:?}");
    let extract = times.phases.get(&Phase::Extract);
    assert!(extract < times.phases.get(&Phase::Check), "{times:?}");
    let sum: u64 = times.phases.values().sum::<u64>() + times.rest_micros;
    assert!(times.micros.abs_diff(sum) <= 3, "{times:?}");
    assert!(times.rest_micros >= 2_000, "{times:?}");
}

/// A thread that waits waits, also before it has ended.
#[test]
fn a_phase_counts_while_it_lasts() {
    let account = Arc::new(Account::default());
    let outer = account.enter(Phase::Wait);
    spin(SHORT);
    assert!(only(&account).phases[&Phase::Wait] >= 2_000);
    let inner = account.enter(Phase::Link);
    spin(SHORT);
    let times = only(&account);
    assert!(times.phases[&Phase::Link] >= 2_000, "{times:?}");
    assert!(times.rest_micros < 2_000, "{times:?}");
    drop(inner);
    spin(SHORT);
    assert!(only(&account).phases[&Phase::Wait] >= 4_000);
    drop(outer);
}

#[test]
fn accounts_are_kept_apart() {
    let [one, other] = [(); 2].map(|()| Arc::new(Account::default()));
    let outer = one.enter(Phase::GenerateTier1);
    drop(other.enter(Phase::Link));
    drop(outer);
    assert!(!only(&one).phases.contains_key(&Phase::Link));
    assert!(!only(&other).phases.contains_key(&Phase::GenerateTier1));
}

#[test]
fn threads_that_have_ended_are_added_up() {
    let account = Arc::new(Account::default());
    for _ in 0..3 * MANY {
        let account = Arc::clone(&account);
        let thread = std::thread::spawn(move || drop(account.enter(Phase::Wait)));
        thread.join().unwrap();
    }
    assert_eq!(only(&account).threads, 3 * MANY);
    assert!(lock(&account.rows).threads.len() <= MANY);
}

#[test]
fn a_child_has_its_own_times() {
    let account = Arc::new(Account::default());
    let phase = account.enter(Phase::Wait);
    account.after_fork();
    drop(phase);
    assert!(account.report().threads.is_empty());
    drop(account.enter(Phase::Link));
    assert_eq!(only(&account).threads, 1);
}
