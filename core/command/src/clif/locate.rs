//! Columns for the reader's errors, which know their line only.
//!
//! The reader takes a line break for a space. So the line of the error is broken before each of its
//! words, and the text read again: the error's line then says which word it is about.
//!
//! Limitations: an error of another kind after breaking (a comment or a name that was cut) gives the
//! first column.
//!
//! Complexity: the text is read once more.

use cranelift_reader::{ParseError, ParseOptions, parse_test};
use std::panic::{AssertUnwindSafe, catch_unwind};

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
            line.get(..start).unwrap_or_default().chars().count() + 1
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
mod tests {
    use super::*;

    fn column_of(text: &str) -> (usize, usize) {
        let error = parse_test(text, ParseOptions::default())
            .err()
            .expect("malformed");
        let line = error.location.line_number;
        (line, column(text, &error, ParseOptions::default()))
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
