//! A guard in front of the reader: numbers of entities that would exhaust memory.
//!
//! `cranelift-reader` makes an entity for every number up to the one it reads: `v4000000000` would ask
//! for 32 GB.

/// The largest number of a value.
const MAX_VALUE: u64 = 20_000_000;

/// The largest number of any other entity. (Blocks are limited by the reader.)
const MAX_OTHER: u64 = 1_000_000;

const OTHERS: [&str; 11] = [
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

/// The first entity of `text` with too large a number: line, column (from 1) and the entity.
pub(super) fn excessive(text: &str) -> Option<(usize, usize, &str)> {
    text.lines().enumerate().find_map(|(index, line)| {
        let code = line.split_once(';').map_or(line, |(code, _)| code);
        let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '%';
        let mut words = code.split(|c| !in_word(c));
        let word = words.find(|word| is_excessive(word))?;
        let offset = word.as_ptr().addr() - line.as_ptr().addr();
        let column = line.get(..offset).unwrap_or_default().chars().count() + 1;
        Some((index + 1, column, word))
    })
}

fn is_excessive(word: &str) -> bool {
    let prefix = word.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = word.get(prefix.len()..).unwrap_or_default();
    let limit = match prefix {
        "v" => MAX_VALUE,
        _ if OTHERS.contains(&prefix) => MAX_OTHER,
        _ => return false,
    };
    // What does not fit is no entity for the reader either.
    number.parse::<u64>().is_ok_and(|number| number > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_entities_count() {
        let fine = "function %v99999999() {\nblock0: ; v99999999\n v7 = iconst.i64 99999999\n}";
        assert_eq!(excessive(fine), None);
        let bad = "function %f() {\nblock0:\n    v4000000000 = iconst.i64 1\n}";
        assert_eq!(excessive(bad), Some((3, 5, "v4000000000")));
        assert_eq!(excessive(" ss4294967295 = x"), Some((1, 2, "ss4294967295")));
    }
}
