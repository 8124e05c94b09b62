// Heat that spreads over a plate: floating point in slices whose bounds are checked.
mod bench;

const SIDE: usize = 256;

fn step(to: &mut [f64], from: &[f64]) -> f64 {
    let mut most: f64 = 0.0;
    for y in 1..SIDE - 1 {
        for x in 1..SIDE - 1 {
            let at = y * SIDE + x;
            let v = 0.25 * (from[at - SIDE] + from[at + SIDE] + from[at - 1] + from[at + 1]);
            most = most.max((v - from[at]).abs());
            to[at] = v;
        }
    }
    most
}

fn main() {
    let n = bench::size(100);
    bench::timed(|| {
        let mut seed = 67;
        let mut a: Vec<f64> = (0..SIDE * SIDE).map(|_| (bench::next(&mut seed) % 100) as f64).collect();
        let mut b = a.clone();
        let mut sum: u64 = 0;
        for _ in 0..n {
            sum = sum.wrapping_mul(31).wrapping_add(step(&mut b, &a).to_bits());
            std::mem::swap(&mut a, &mut b);
        }
        sum ^ a.iter().sum::<f64>().to_bits()
    });
}
