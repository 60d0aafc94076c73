//! Whether colours are wanted: on a terminal that can show them, unless somebody has said otherwise.

use std::env;
use std::io::IsTerminal;

/// Whether colours are wanted there, as <https://no-color.org> and <https://bixense.com/clicolors> have it.
pub(super) fn is_wanted(out: &impl IsTerminal) -> bool {
    let said = |name| env::var(name).ok().filter(|value| !value.is_empty());
    decide(
        said("NO_COLOR").is_some(),
        said("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
        out.is_terminal() && said("TERM").is_none_or(|name| name != "dumb"),
    )
}

/// Who wants none is heard before who wants some anywhere.
const fn decide(are_unwanted: bool, are_forced: bool, is_terminal: bool) -> bool {
    !are_unwanted && (are_forced || is_terminal)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(false, false, true, true)]
    #[case(false, false, false, false)]
    #[case(false, true, false, true)]
    #[case(true, false, true, false)]
    #[case(true, true, true, false)]
    fn colours_are_for_terminals_unless_somebody_says_otherwise(
        #[case] are_unwanted: bool,
        #[case] are_forced: bool,
        #[case] is_terminal: bool,
        #[case] is_wanted: bool,
    ) {
        assert_eq!(decide(are_unwanted, are_forced, is_terminal), is_wanted);
    }
}
