// Words of a made-up text counted in a map of strings, and sorted: the library's hashes, strings and sorting.
mod bench;

use std::collections::HashMap;

fn text(seed: &mut u32, words: usize) -> String {
    let mut t = String::new();
    for _ in 0..words {
        for _ in 0..2 + bench::next(seed) % 3 {
            t.push((b'a' + (bench::next(seed) % 12) as u8) as char);
        }
        t.push(if bench::next(seed) % 10 == 0 { '\n' } else { ' ' });
    }
    t
}

fn count(t: &str) -> u64 {
    let mut words: HashMap<String, u32> = HashMap::new();
    for line in t.lines() {
        for w in line.split_whitespace() {
            *words.entry(w.to_string()).or_insert(0) += 1;
        }
    }
    let mut list: Vec<(String, u32)> = words.into_iter().collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    list.iter().take(1000).fold(0, |sum, (w, n)| {
        w.bytes().fold(sum * 31 + *n as u64, |s: u64, b| s.wrapping_mul(33).wrapping_add(b as u64)) % 0xffff_ffff_ffff
    })
}

fn main() {
    let n = bench::size(10);
    bench::timed(|| {
        let mut seed = 59;
        (0..n).fold(0, |sum: u64, _| sum.wrapping_mul(31).wrapping_add(count(&text(&mut seed, 30_000))))
    });
}
