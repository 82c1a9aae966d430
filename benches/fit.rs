//! A line through what was measured.
//!
//! # Invariants
//! *relative*: what counts are relative errors, so that what is small counts as much as what is large.
//! *unbiased*: a line that is too low is as wrong as one that is too high.
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
    ///
    /// Least squares of errors relative to what the line before says (iteratively reweighted): relative to what was measured, a line
    /// that is too low would be the better one.
    pub fn of(points: &[Point]) -> Option<Self> {
        // Half of the time for however little, for a start.
        let middle = median(points.iter().map(|point| point.size))?;
        let start = |size: f64| size + middle;
        let mut fit = least_squares(points.iter().map(|&point| (point, start(point.size))))?;
        for _ in 0..ROUNDS {
            let scale = median(points.iter().map(|point| point.time / fit.at(point.size)))?;
            let near = points.iter().filter(|point| {
                let ratio = point.time / fit.at(point.size) / scale;
                (1.0 / FAR..=FAR).contains(&ratio)
            });
            let Some(next) = least_squares(near.map(|&point| (point, fit.at(point.size)))) else {
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

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The line with the least sum of squares of errors, each relative to what comes with its point; neither part is negative.
fn least_squares(points: impl Iterator<Item = (Point, f64)>) -> Option<Fit> {
    let [mut w, mut x, mut xx, mut y, mut xy] = [0.0; 5];
    for (point, scale) in points.filter(|(_, scale)| *scale > 0.0) {
        let weight = 1.0 / (scale * scale);
        w += weight;
        x += weight * point.size;
        xx += weight * point.size * point.size;
        y += weight * point.time;
        xy += weight * point.size * point.time;
    }
    let determinant = w * xx - x * x;
    if determinant <= w * xx * 1e-12 {
        return None;
    }
    let fixed = (y * xx - xy * x) / determinant;
    let each = (xy * w - y * x) / determinant;
    Some(match (fixed < 0.0, each < 0.0) {
        (true, _) => Fit {
            fixed: 0.0,
            each: xy / xx,
        },
        (_, true) => Fit {
            fixed: y / w,
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

    /// Half of the points take half as long again as the rest: the line is between them.
    #[test]
    fn what_spreads_is_met_in_the_middle() {
        let mut points = line(1..200, 20_000.0, 1_000.0);
        for point in points.iter_mut().step_by(2) {
            point.time *= 1.5;
        }
        let fit = Fit::of(&points).expect("there are sizes");
        let residuals = fit.residuals(&points);
        let mean = residuals.iter().sum::<f64>() / residuals.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{fit:?}: {mean}");
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
