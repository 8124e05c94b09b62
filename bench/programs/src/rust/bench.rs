// What all programs in Rust share: a size from the command line, a generator of numbers, and where the time counts.

use std::io::Write;

/// size reads the first argument.
pub fn size(usual: usize) -> usize {
    std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(usual)
}

/// next is xorshift.
pub fn next(state: &mut u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    *state
}

/// timed prints what work comes to. Whoever measures takes the time from the word on stderr to that; a native program
/// says itself how many nanoseconds of the processor it took.
pub fn timed(work: impl FnOnce() -> u64) {
    eprint!("begin\n");
    let begin = clock();
    let result = work();
    let took = clock() - begin;
    println!("{:016x}", result);
    std::io::stdout().flush().unwrap();
    if took > 0 {
        eprint!("{}\n", took);
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn clock() -> i64 {
    extern "C" {
        fn clock_gettime(id: i32, t: *mut [i64; 2]) -> i32;
    }
    let mut t = [0; 2];
    let id = 2; // CLOCK_PROCESS_CPUTIME_ID on Linux
    if unsafe { clock_gettime(id, &mut t) } != 0 {
        panic!("no clock of the processor's time");
    }
    t[0] * 1_000_000_000 + t[1]
}

#[cfg(target_arch = "wasm32")]
fn clock() -> i64 {
    0
}
