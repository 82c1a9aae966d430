//! A line through what was measured.
//!
//! # Invariants
//! *relative*: what counts are relative errors, so that what is small counts as much as what is large.
//!
//! # Limitations
//! A line: what grows faster than its size shows in [`Fit::classes`].

/// Something of a size, and the time that it took, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Instructions.
    pub size: f64,
    /// Nanoseconds.
    pub time: f64,
}

/// The line of which relative errors are least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Nanoseconds for however little.
    pub fixed: f64,
    /// Nanoseconds for each instruction.
    pub each: f64,
}

/// How far off points lie, up to a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Class {
    /// The largest size in it.
    pub to: f64,
    /// How many points there are.
    pub points: usize,
    /// What they took in all by what the line says.
    pub ratio: f64,
}

/// Rounds of leaving out what is far off: what was kept from a processor, and what is unlike the rest.
const ROUNDS: usize = 5;

/// A point is far off that took more than so many times what the line says, or less than by it.
const FAR: f64 = 3.0;

impl Fit {
    /// The line through points, of which there have to be two sizes.
    pub fn of(points: &[Point]) -> Option<Self> {
        let mut fit = least_squares(points.iter().copied())?;
        for _ in 0..ROUNDS {
            let near = |point: &Point| {
                let ratio = point.time / fit.at(point.size);
                (1.0 / FAR..=FAR).contains(&ratio)
            };
            let near = points.iter().copied().filter(near);
            let Some(next) = least_squares(near) else {
                break;
            };
            fit = next;
        }
        Some(fit)
    }

    /// What the line says.
    pub fn at(self, size: f64) -> f64 {
        self.fixed + self.each * size
    }

    /// What points took by what the line says, in order.
    pub fn residuals(self, points: &[Point]) -> Vec<f64> {
        let mut ratios: Vec<f64> = points.iter().map(|p| p.time / self.at(p.size)).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        ratios
    }

    /// How far off they are by size.
    pub fn classes(self, points: &[Point]) -> Vec<Class> {
        let mut from = 0.0;
        let bounds = [30.0, 100.0, 300.0, 1_000.0, 3_000.0, f64::INFINITY];
        let mut class = |to: f64| {
            let inside = points.iter().filter(|p| p.size > from && p.size <= to);
            let (mut count, mut took, mut said) = (0, 0.0, 0.0);
            for point in inside {
                count += 1;
                took += point.time;
                said += self.at(point.size);
            }
            from = to;
            Class {
                to,
                points: count,
                ratio: took / said,
            }
        };
        bounds.map(&mut class).to_vec()
    }
}

/// The line with the least sum of squares of relative errors, `(fixed + each × size) / time - 1`; neither negative.
fn least_squares(points: impl Iterator<Item = Point>) -> Option<Fit> {
    // With u = 1 / time and v = size / time, the least squares of fixed × u + each × v = 1.
    let [mut uu, mut uv, mut vv, mut u, mut v] = [0.0; 5];
    for point in points.filter(|point| point.time > 0.0) {
        let (a, b) = (1.0 / point.time, point.size / point.time);
        uu += a * a;
        uv += a * b;
        vv += b * b;
        u += a;
        v += b;
    }
    let determinant = uu * vv - uv * uv;
    if determinant <= uu * vv * 1e-12 {
        return None;
    }
    let fixed = (u * vv - v * uv) / determinant;
    let each = (v * uu - u * uv) / determinant;
    Some(match (fixed < 0.0, each < 0.0) {
        (true, _) => Fit {
            fixed: 0.0,
            each: v / vv,
        },
        (_, true) => Fit {
            fixed: u / uu,
            each: 0.0,
        },
        _ => Fit { fixed, each },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(sizes: impl IntoIterator<Item = u32>, fixed: f64, each: f64) -> Vec<Point> {
        let point = |size: u32| Point {
            size: size.into(),
            time: fixed + each * f64::from(size),
        };
        sizes.into_iter().map(point).collect()
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-6 * a.abs().max(1.0)
    }

    #[test]
    fn a_line_is_found_again() {
        let mut points = line(1..100, 25_000.0, 1_400.0);
        let fit = Fit::of(&points).expect("there are sizes");
        assert!(
            close(fit.fixed, 25_000.0) && close(fit.each, 1_400.0),
            "{fit:?}"
        );
        assert!(
            fit.residuals(&points)
                .into_iter()
                .all(|ratio| close(ratio, 1.0))
        );
        // What was kept from a processor changes nothing.
        points[50].time *= 100.0;
        let fit = Fit::of(&points).expect("there are sizes");
        assert!(close(fit.each, 1_400.0), "{fit:?}");
        let classes = fit.classes(&points);
        assert_eq!(classes.iter().map(|class| class.points).sum::<usize>(), 99);
        assert!(close(classes[0].ratio, 1.0) && classes[1].ratio > 2.0);
    }

    #[test]
    fn neither_is_negative() {
        let fit = Fit::of(&line(50..100, -1_000.0, 100.0)).expect("there are sizes");
        assert!(fit.fixed == 0.0 && fit.each > 0.0);
        let fit = Fit::of(&line(50..100, 10_000.0, -50.0)).expect("there are sizes");
        assert!(fit.each == 0.0 && fit.fixed > 0.0);
    }

    #[test]
    fn one_size_makes_no_line() {
        assert_eq!(Fit::of(&line([7, 7, 7], 1.0, 1.0)), None);
        assert_eq!(Fit::of(&[]), None);
    }
}
