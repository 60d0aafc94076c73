//! Recognises what guessers try first: listed words, what people make of them to please a policy, and plain rows of
//! characters. Only the whole password is looked at, never a word within it.

use std::sync::LazyLock;

/// In the order of their shapes; data/README.md says where they come from.
static WORDS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("../../data/common-passwords.txt").lines().collect());

/// More surprises than this around a word are no longer a decoration: they have to be guessed by themselves.
const MOST_DECORATION: usize = 6;
/// Fewer surprises than this are a row, such as 1234567890 or aaaaaaaa.
const FEWEST_SURPRISES: usize = 4;
/// A piece shorter than this is no password, however often it is repeated.
const SHORTEST_PIECE: usize = 6;
/// Nothing longer is taken for a word, repeated or not: it bounds the work that a password can make.
const LONGEST_CORE: usize = 64;

/// Whether each character but a few follows from the one before (`aaaaaaaa`, `12345678`, `Abcdef1!`), or a few
/// characters are repeated throughout.
pub(super) fn is_predictable(text: &str) -> bool {
    let text = folded(text);
    let piece = repeated_piece(&text);
    surprises(&text) < FEWEST_SURPRISES || (piece.len() < text.len() && piece.len() < SHORTEST_PIECE)
}

/// Whether the text is a word as it is, repeated, or with the usual decoration: letters exchanged for what looks like
/// them, separators between them, digits and signs before and behind. `is_word` is given the [`shape`] of each text
/// that may be one.
pub(super) fn is_variation(text: &str, is_word: impl Fn(&str) -> bool) -> bool {
    cores(&folded(text)).any(|core| {
        is_word(
            &repeated_piece(core)
                .iter()
                .copied()
                .filter_map(shaped)
                .collect::<String>(),
        )
    })
}

/// Whether a word of that shape is on the list.
pub(super) fn is_listed(shape: &str) -> bool {
    WORDS
        .binary_search_by(|word| word.chars().filter_map(shaped).cmp(shape.chars()))
        .is_ok()
}

/// What a text and its variations have in common: lower case, no separators, one letter for all that look like it.
pub(super) fn shape(text: &str) -> String {
    folded(text).into_iter().filter_map(shaped).collect()
}

fn shaped(character: char) -> Option<char> {
    Some(match character {
        ' ' | '-' | '.' | '_' => return None,
        '0' => 'o',
        '1' | 'l' | '!' | '|' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' | '+' => 't',
        '8' => 'b',
        other => other,
    })
}

fn folded(text: &str) -> Vec<char> {
    text.to_lowercase().chars().collect()
}

/// The text, and what is left of it without a decoration at either end, in every way in which it can be taken off: a
/// sign at an end may as well stand for a letter.
fn cores(text: &[char]) -> impl Iterator<Item = &[char]> {
    let before = text
        .iter()
        .take_while(|character| is_decoration(**character))
        .count();
    let behind = text
        .iter()
        .rev()
        .take_while(|character| is_decoration(**character))
        .count();
    (0..=before).flat_map(move |start| {
        let first_end = text.len().saturating_sub(behind).max(start);
        let ends = first_end..=text.len().min(start + LONGEST_CORE);
        ends.filter_map(move |end| undecorated(text, start, end))
    })
}

fn undecorated(text: &[char], start: usize, end: usize) -> Option<&[char]> {
    let (before, core, behind) = (text.get(..start)?, text.get(start..end)?, text.get(end..)?);
    (surprises(before) + surprises(behind) <= MOST_DECORATION).then_some(core)
}

/// A letter is none: a name with a letter added may be another name, and a word within a passphrase would be found.
fn is_decoration(character: char) -> bool {
    !character.is_alphabetic()
}

/// The shortest piece that the text is a repetition of; the text itself where it is none.
fn repeated_piece(text: &[char]) -> &[char] {
    let is_piece = |length: &usize| {
        text.len().is_multiple_of(*length)
            && text
                .iter()
                .skip(*length)
                .eq(text.iter().take(text.len() - length))
    };
    let length = (1..=text.len()).find(is_piece);
    length.and_then(|length| text.get(..length)).unwrap_or(text)
}

/// How many characters can't be told from the one before: it is neither the same nor the next up or down.
fn surprises(text: &[char]) -> usize {
    let told = text
        .windows(2)
        .filter(|pair| matches!(pair, [one, next] if follows(*one, *next)));
    text.len() - told.count()
}

fn follows(one: char, next: char) -> bool {
    u32::from(one).abs_diff(u32::from(next)) <= 1 || matches!((one, next), ('9', '0') | ('0', '9'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_the_order_of_its_shapes_and_holds_each_once() {
        let shapes: Vec<String> = WORDS.iter().map(|word| shape(word)).collect();
        assert!(shapes.is_sorted_by(|one, next| one < next));
        assert!(shapes.iter().all(|shape| shape.len() >= 4));
        assert!(shapes.len() > 30_000);
    }

    #[test]
    fn every_word_of_the_list_is_found_by_its_shape() {
        assert!(WORDS.iter().all(|word| is_listed(&shape(word))));
        assert!(!is_listed(""));
        assert!(!is_listed("zzzzzzzzzzzzzzzzz"));
    }
}
