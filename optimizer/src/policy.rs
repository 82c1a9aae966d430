//! Every constant of the optimizer, with its reason.
//!
//! Not here: which passes run ([`Passes`](crate::Passes)).

/// Limits and thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Places in memory, times blocks, that the availability of values is computed for at once. A state takes 8 bytes,
    /// so that this bounds the memory of a compile thread: 8 MiB.
    pub max_states: usize,
    /// How many times the instructions may be gone through, for different places each time. Places beyond are left alone,
    /// so that the time of a compilation stays close to linear.
    pub max_rounds: usize,
    /// Terms that an address may be the sum of. Front ends make two (a base and an index), inlining three.
    pub max_terms: usize,
    /// Values that an address may depend on. An address with more is a value that nothing is known of.
    pub max_leaves: usize,
    /// Parameters that a block may have, those of passes included: far below the 65,535 that CLIF has room for.
    pub max_params: usize,
    /// Instructions of a loop header that is copied in front of its loop. A header that tests has 2 to 8 of them in
    /// front ends' code; larger ones cost code and gain one jump.
    pub max_inverted: usize,
    /// Instructions of a function that is looked at for checks that cannot fail. It is gone through several times, also before tier 0.
    pub max_checked: usize,
    /// Instructions of a block that is copied for edges that decide its branch.
    pub max_threaded: usize,
    /// Instructions of both arms of a branch that are computed whichever is taken; a multiplication counts as three. A branch that is predicted
    /// costs one or two, one that is not 15 to 20.
    pub max_selected: usize,
    /// Values that are chosen where arms meet.
    pub max_selects: usize,
    /// Instructions that a loop may become by being unrolled, constants not counted.
    pub max_unrolled: usize,
    /// Loads in straight code that was a loop: what they load is in registers all at once, of which x86-64 has 15.
    pub max_live_loads: usize,
    /// Iterations in a round of a loop that does not become straight code.
    pub unrolled_by: u64,
    /// Tests of a loop that are looked at: that takes time.
    pub max_iterations: u64,
    /// Blocks of a loop that is looked at for loads to hoist and stores to sink.
    pub max_loop_blocks: usize,
    /// Loads that are hoisted out of one loop, and stores sunk. Each occupies a register in the loop; x86-64 has 15.
    pub max_hoisted: usize,
    /// Instructions of a callee that is inlined where it is called once for each execution of its caller or more often.
    pub max_inlined: usize,
    /// Instructions of a function after inlining, in percent of those before, beyond `min_grown`: what it may cost to compile.
    pub max_growth: usize,
    /// Instructions that a function may always grow to.
    pub min_grown: usize,
    /// Levels of calls that are inlined into one another; bounds recursion.
    pub max_inline_depth: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_states: 1 << 20,
            max_rounds: 4,
            max_terms: 4,
            max_leaves: 8,
            max_params: 4096,
            max_inverted: 24,
            max_checked: 2000,
            max_threaded: 12,
            max_selected: 6,
            max_selects: 1,
            max_unrolled: 320,
            max_live_loads: 12,
            unrolled_by: 4,
            max_iterations: 33,
            max_loop_blocks: 512,
            max_hoisted: 8,
            max_inlined: 80,
            max_growth: 200,
            min_grown: 500,
            max_inline_depth: 3,
        }
    }
}
