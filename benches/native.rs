//! The programs of `slots/` in Rust: what LLVM makes of them is as fast as they can be hoped to run.
//!
//! The same arithmetic (wrapping, on `i64`, division and shifts unsigned) and the same checks of indices.

/// A program.
pub type Program = extern "C" fn(i64) -> i64;

/// The program with this name.
pub fn program(name: &str) -> Option<Program> {
    Some(match name {
        "collatz" => collatz,
        "digits" => digits,
        "gcd" => gcd,
        "hash" => hash,
        "mandelbrot" => mandelbrot,
        "matrix" => matrix,
        "sieve" => sieve,
        "sort" => sort,
        _ => return None,
    })
}

fn div(a: i64, b: i64) -> i64 {
    (a.cast_unsigned() / b.cast_unsigned()).cast_signed()
}

fn rem(a: i64, b: i64) -> i64 {
    (a.cast_unsigned() % b.cast_unsigned()).cast_signed()
}

fn shr(a: i64, b: i64) -> i64 {
    a.cast_unsigned().wrapping_shr(b as u32).cast_signed()
}

extern "C" fn collatz(n: i64) -> i64 {
    let (mut best, mut at, mut i) = (0_i64, 0_i64, 1_i64);
    while i < n {
        let (mut x, mut steps) = (i, 0_i64);
        while x != 1 {
            if x & 1 != 0 {
                x = x.wrapping_mul(3).wrapping_add(1);
            } else {
                x = shr(x, 1);
            }
            steps = steps.wrapping_add(1);
        }
        if best < steps {
            best = steps;
            at = i;
        }
        i = i.wrapping_add(1);
    }
    at.wrapping_mul(1000).wrapping_add(best)
}

extern "C" fn digits(n: i64) -> i64 {
    let (mut found, mut i) = (0_i64, 1_i64);
    while i < n {
        let (mut digits, mut x) = (0_i64, i);
        while x != 0 {
            digits = digits.wrapping_add(1);
            x = div(x, 10);
        }
        let mut sum = 0_i64;
        x = i;
        while x != 0 {
            let digit = rem(x, 10);
            let (mut power, mut k) = (1_i64, 0_i64);
            while k < digits {
                power = power.wrapping_mul(digit);
                k = k.wrapping_add(1);
            }
            sum = sum.wrapping_add(power);
            x = div(x, 10);
        }
        if sum == i {
            found = found.wrapping_add(i);
        }
        i = i.wrapping_add(1);
    }
    found
}

extern "C" fn gcd(n: i64) -> i64 {
    let (mut count, mut a) = (0_i64, 1_i64);
    while a < n {
        let mut b = 1_i64;
        while b < a {
            let (mut x, mut y) = (a, b);
            while y != 0 {
                if x < y {
                    (x, y) = (y, x);
                }
                x = x.wrapping_sub(y);
                if x < y {
                    (x, y) = (y, x);
                }
            }
            if x == 1 {
                count = count.wrapping_add(1);
            }
            b = b.wrapping_add(1);
        }
        a = a.wrapping_add(1);
    }
    count
}

extern "C" fn hash(n: i64) -> i64 {
    let (mut a, mut h, mut i) = (
        88_172_645_463_325_252_i64,
        1_469_598_103_934_665_603_i64,
        0_i64,
    );
    while i < n {
        a ^= a.wrapping_shl(13);
        a ^= shr(a, 7);
        a ^= a.wrapping_shl(17);
        let mut byte = 0_i64;
        while byte < 8 {
            h ^= shr(a, byte.wrapping_mul(8)) & 255;
            h = h.wrapping_mul(1_099_511_628_211);
            byte = byte.wrapping_add(1);
        }
        i = i.wrapping_add(1);
    }
    h
}

extern "C" fn mandelbrot(n: i64) -> i64 {
    let (mut inside, mut row) = (0_i64, 0_i64);
    while row < n {
        let mut column = 0_i64;
        while column < n {
            let cr = div(column.wrapping_mul(12288), n).wrapping_sub(8192);
            let ci = div(row.wrapping_mul(8192), n).wrapping_sub(4096);
            let (mut zr, mut zi, mut i, mut stay) = (0_i64, 0_i64, 0_i64, 1_i64);
            while i64::from(i < 64) & stay != 0 {
                let (rr, ii) = (zr.wrapping_mul(zr), zi.wrapping_mul(zi));
                let ri = zr.wrapping_mul(zi);
                if rr.wrapping_add(ii) < 67_108_864 {
                    zi = shr(ri.wrapping_add(1_073_741_824), 11)
                        .wrapping_sub(524_288)
                        .wrapping_add(ci);
                    zr = shr(rr.wrapping_sub(ii).wrapping_add(1_073_741_824), 12)
                        .wrapping_sub(262_144)
                        .wrapping_add(cr);
                    i = i.wrapping_add(1);
                } else {
                    stay = 0;
                }
            }
            inside = inside.wrapping_add(stay);
            column = column.wrapping_add(1);
        }
        row = row.wrapping_add(1);
    }
    inside
}

fn at(index: i64) -> usize {
    index.cast_unsigned() as usize
}

extern "C" fn matrix(n: i64) -> i64 {
    let (mut a, mut b, mut c) = ([0_i64; 256], [0_i64; 256], [0_i64; 256]);
    let mut i = 0_i64;
    while i < 256 {
        a[at(i)] = i.wrapping_mul(7).wrapping_add(3);
        b[at(i)] = i ^ 85;
        i = i.wrapping_add(1);
    }
    let mut round = 0_i64;
    while round < n {
        let mut row = 0_i64;
        while row < 16 {
            let mut column = 0_i64;
            while column < 16 {
                let (mut sum, mut k) = (0_i64, 0_i64);
                while k < 16 {
                    let product = a[at(row * 16 + k)].wrapping_mul(b[at(k * 16 + column)]);
                    sum = sum.wrapping_add(product);
                    k = k.wrapping_add(1);
                }
                c[at(row * 16 + column)] = sum;
                column = column.wrapping_add(1);
            }
            row = row.wrapping_add(1);
        }
        i = 0;
        while i < 256 {
            b[at(i)] = c[at(i)] & 65535;
            i = i.wrapping_add(1);
        }
        round = round.wrapping_add(1);
    }
    c[17] ^ c[200]
}

extern "C" fn sieve(n: i64) -> i64 {
    let mut composite = [0_i64; 4096];
    let (mut count, mut round) = (0_i64, 0_i64);
    while round < n {
        let mut i = 0_i64;
        while i < 4096 {
            composite[at(i)] = 0;
            i = i.wrapping_add(1);
        }
        count = 0;
        i = 2;
        while i < 4096 {
            if composite[at(i)] == 0 {
                count = count.wrapping_add(1);
                let mut j = i.wrapping_add(i);
                while j < 4096 {
                    composite[at(j)] = 1;
                    j = j.wrapping_add(i);
                }
            }
            i = i.wrapping_add(1);
        }
        round = round.wrapping_add(1);
    }
    count
}

extern "C" fn sort(n: i64) -> i64 {
    let mut a = [0_i64; 128];
    let (mut seed, mut round, mut sum) = (12345_i64, 0_i64, 0_i64);
    while round < n {
        let mut i = 0_i64;
        while i < 128 {
            seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12345) & 2_147_483_647;
            a[at(i)] = seed;
            i = i.wrapping_add(1);
        }
        i = 1;
        while i < 128 {
            let x = a[at(i)];
            let (mut j, mut go) = (i, 1_i64);
            while go != 0 {
                go = 0;
                if 0 < j && x < a[at(j - 1)] {
                    a[at(j)] = a[at(j - 1)];
                    j = j.wrapping_sub(1);
                    go = 1;
                }
            }
            a[at(j)] = x;
            i = i.wrapping_add(1);
        }
        sum ^= a[at(round & 127)];
        round = round.wrapping_add(1);
    }
    sum
}
