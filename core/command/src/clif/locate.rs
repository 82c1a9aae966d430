//! Places in a text: lines and columns.
//!
//! The reader's errors know their line only, and it takes a line break for a space. So the line of the error is
//! broken before each of its words, and the text read again: the error's line then says which word it is
//! about.
//!
//! Limitations: an error of another kind after breaking (a comment or a name that was cut) gives the
//! first column.
//!
//! Complexity: for an error, the text is read once more.

use cranelift_reader::{ParseError, ParseOptions, parse_test};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A text whose line breaks were found once.
pub(super) struct Lines<'t> {
    text: &'t str,
    /// Where lines end, each with its break.
    ends: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// # Complexity
    ///
    /// O(text).
    pub fn of(text: &'t str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            ends: ends.collect(),
        }
    }

    /// Line and column, from 1, of a slice of the text.
    ///
    /// # Complexity
    ///
    /// O(log lines + the line).
    pub fn place(&self, slice: &str) -> (usize, usize) {
        let offset = slice
            .as_ptr()
            .addr()
            .saturating_sub(self.text.as_ptr().addr());
        let line = self.ends.partition_point(|&end| end <= offset);
        let start = line.checked_sub(1).and_then(|before| self.ends.get(before));
        let before = self.text.get(start.copied().unwrap_or(0)..offset);
        (line + 1, count(before.unwrap_or_default()) + 1)
    }
}

/// The characters of a text. All columns are counted here, so that tests see how much is counted.
pub(super) fn count(text: &str) -> usize {
    #[cfg(test)]
    tests::COUNTED.set(tests::COUNTED.get() + text.len());
    text.chars().count()
}

/// The column, from 1, of the word that `error` is about.
pub(super) fn column(text: &str, error: &ParseError, options: ParseOptions<'_>) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let index = error.location.line_number.saturating_sub(1);
    let Some(line) = lines.get(index) else {
        return 1;
    };
    let first = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
    if line.contains('"') {
        return first;
    }
    let starts = word_starts(line);
    let mut broken = String::with_capacity(text.len() + starts.len());
    for before in lines.iter().take(index) {
        broken.push_str(before);
        broken.push('\n');
    }
    let ends = starts.iter().skip(1).copied().chain([line.len()]);
    for (&start, end) in starts.iter().zip(ends) {
        broken.push_str(line.get(start..end).unwrap_or_default());
        broken.push('\n');
    }
    for after in lines.iter().skip(index + 1) {
        broken.push_str(after);
        broken.push('\n');
    }
    let again = catch_unwind(AssertUnwindSafe(|| parse_test(&broken, options).err()));
    let Ok(Some(again)) = again else {
        return first;
    };
    let word = again.location.line_number.checked_sub(index + 1);
    match word.and_then(|word| starts.get(word)) {
        Some(&start) if again.message == error.message => {
            count(line.get(..start).unwrap_or_default()) + 1
        }
        _ => first,
    }
}

/// The byte offsets at which the words of a line begin; all of a comment is one word.
fn word_starts(line: &str) -> Vec<usize> {
    let mut starts = vec![];
    let mut inside = false;
    for (offset, c) in line.char_indices() {
        let single = matches!(c, ',' | '(' | ')' | '{' | '}' | '[' | ']' | ';');
        if c.is_whitespace() {
            inside = false;
        } else if single || !inside {
            starts.push(offset);
            inside = !single;
        }
        if c == ';' {
            break;
        }
    }
    starts
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        /// How many bytes were counted on this thread.
        pub static COUNTED: Cell<usize> = const { Cell::new(0) };
    }

    fn column_of(text: &str) -> (usize, usize) {
        let error = parse_test(text, ParseOptions::default())
            .err()
            .expect("malformed");
        let line = error.location.line_number;
        (line, column(text, &error, ParseOptions::default()))
    }

    #[test]
    fn slices_have_places() {
        let text = "a\n\nbö c\n";
        let lines = Lines::of(text);
        let place = |word: &str| lines.place(&text[text.find(word).unwrap()..]);
        assert_eq!(
            (place("a"), place("b"), place("c")),
            ((1, 1), (3, 1), (3, 4))
        );
        assert_eq!(Lines::of("").place(""), (1, 1));
    }

    #[test]
    fn the_offending_word_is_found() {
        let text =
            "function %f(i32) -> i32 {\nblock0(v0: i32):\n    v1 = iadd v0, v7\n    return v1\n}";
        assert_eq!(column_of(text).0, 3);
        let text =
            "function %f(i32) -> i32 {\nblock0(v0: i32):\n    v1 = frobnicate v0\n    return v1\n}";
        assert_eq!(column_of(text), (3, 10));
        let text = "function %f(i32, i33) {\nblock0:\n    return\n}";
        assert_eq!(column_of(text), (1, 18));
        assert_eq!(column_of("  nonsense"), (1, 3));
    }
}
