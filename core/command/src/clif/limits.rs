//! A guard in front of the reader: numbers of entities that would exhaust memory.
//!
//! `cranelift-reader` makes an entity for every number up to the one it reads, and analyses keep tables by number:
//! `v4000000000` would ask for 32 GB, and a thousand small functions with `v300000` for 9 GB. So numbers are limited by
//! the length of the function's text, which no function numbered in order comes near. What a function has above that
//! is limited for the file as well, as twenty thousand functions with `v9999` would take 6 GB.
//!
//! Not here: functions that a client builds; their entities are numbered in order.

use super::locate;

/// Numbers up to this are fine in any function, until [`SPARE`] is used up.
const ALWAYS: u64 = 10_000;

/// How many numbers a byte of text allows.
const BY_BYTE: u64 = 2;

/// How far the functions of a file, together, may go beyond what their length allows.
const SPARE: u64 = 1_000_000;

const ENTITIES: [&str; 13] = [
    "v",
    "block",
    "ss",
    "dss",
    "gv",
    "mt",
    "const",
    "fn",
    "sig",
    "dt",
    "extable",
    "region",
    "userextname",
];

/// An entity with too large a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Excessive<'t> {
    /// Its line, from 1.
    pub line: usize,
    /// Its column, from 1.
    pub column: usize,
    /// Its name.
    pub entity: &'t str,
    /// The largest number that its function may have.
    pub limit: u64,
}

/// The first entity of `text` with too large a number.
///
/// # Complexity
///
/// O(text).
pub(super) fn excessive(text: &str) -> Option<Excessive<'_>> {
    let mut first_line = 0;
    let mut spare = SPARE;
    for function in functions(text) {
        let by_length = BY_BYTE.saturating_mul(function.len() as u64);
        let limit = by_length.max(ALWAYS.min(by_length.saturating_add(spare)));
        let mut largest = 0;
        for line in function.lines() {
            first_line += 1;
            for (word, number) in words(line).filter_map(|word| Some((word, number(word)?))) {
                largest = largest.max(number);
                if number > limit {
                    let offset = word.as_ptr().addr() - line.as_ptr().addr();
                    return Some(Excessive {
                        line: first_line,
                        column: locate::count(line.get(..offset).unwrap_or_default()) + 1,
                        entity: word,
                        limit,
                    });
                }
            }
        }
        spare -= largest.saturating_sub(by_length).min(spare);
    }
    None
}

/// The text in parts that each hold a function at the most.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.match_indices("\nfunction ").map(|(at, _)| at + 1);
    let mut starts = starts.chain([text.len()]);
    let mut from = 0;
    std::iter::from_fn(move || {
        let to = starts.next()?;
        let part = text.get(from..to);
        from = to;
        part
    })
}

/// The words of a line, without its comment.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split_once(';').map_or(line, |(code, _)| code);
    code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '%'))
}

/// The number of an entity.
fn number(word: &str) -> Option<u64> {
    let prefix = word.trim_end_matches(|c: char| c.is_ascii_digit());
    if !ENTITIES.contains(&prefix) {
        return None;
    }
    // What does not fit is no entity for the reader either.
    word.get(prefix.len()..)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_entities_count() {
        let fine = "function %v99999999() {\nblock0: ; v99999999\n v7 = iconst.i64 99999999\n}";
        assert_eq!(excessive(fine), None);
        let bad = "function %f() {\nblock0:\n    v4000000000 = iconst.i64 1\n}";
        let found = excessive(bad).unwrap();
        assert_eq!(
            (found.line, found.column, found.entity),
            (3, 5, "v4000000000")
        );
        let found = excessive(" ss4294967295 = x").unwrap();
        assert_eq!((found.line, found.column), (1, 2));
        assert!(excessive("block4294967290:").is_some());
    }

    #[test]
    fn all_functions_together_are_limited() {
        let function = "function %f() {\nblock0:\n    v9000 = iconst.i64 1\n    return\n}\n";
        let few = function.repeat(50);
        assert_eq!(excessive(&few), None);
        let spare = SPARE / (9000 - BY_BYTE * function.len() as u64);
        let many = function.repeat(1000);
        let found = excessive(&many).unwrap();
        assert_eq!(found.line as u64, 5 * spare + 3);
        let in_order = function.replace("9000", "1").repeat(10_000);
        assert_eq!(excessive(&in_order), None);
    }

    #[test]
    fn a_function_may_number_as_much_as_it_is_long() {
        let small = "function %f() {\nblock0:\n    v20000 = iconst.i64 1\n    return\n}\n";
        let long = "; a comment of some length\n".repeat(1000);
        let two = format!("; first\n{small}\n{small}");
        let found = excessive(&two).unwrap();
        assert_eq!((found.line, found.limit), (4, ALWAYS));
        let second = format!("function %g() {{\n{long}    v40000 = iconst.i64 1\n}}\n{small}");
        assert_eq!(excessive(&second).unwrap().line, 1006);
    }
}
