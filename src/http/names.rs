//! Checks and normalizes names, so that equal characters give equal names, and no name has invisible characters.
//!
//! Names are stored in Unicode's normalization form C. Characters that cannot be seen are refused, except where a script or an
//! emoji needs them. Characters of different scripts that look alike, such as Latin and Cyrillic `a`, stay different names.

use std::borrow::Cow;

use unicode_normalization::char::{canonical_combining_class, is_combining_mark};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use unicode_properties::emoji::EmojiStatus;
use unicode_properties::{GeneralCategory, UnicodeEmoji, UnicodeGeneralCategory};

/// Returns a regular expression (ECMA 262) for names. The expression matches every name that [`error`] accepts, and some that [`error`]
/// refuses: those with a needless joiner or variation selector, or with an invisible character above U+FFFF.
#[must_use]
pub fn regex() -> String {
    let invisible = "\\u0000-\\u001f\\u007f-\\u00a0\\u00ad\\u034f\\u061c\\u115f\\u1160\\u1680\\u17b4\\u17b5\\u180b-\\u180f\
        \\u2000-\\u200b\\u200e\\u200f\\u2028-\\u202f\\u205f-\\u206f\\u2800\\u3164\\ufe00-\\ufe0e\\ufeff\\uffa0\\ufff0-\\ufffb";
    let visible = format!("[^ \\u3000{invisible}]");
    format!("^{visible}([^{invisible}]*{visible})?$")
}

const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
const EMOJI_PRESENTATION: char = '\u{fe0f}';
const KEYCAP: char = '\u{20e3}';

/// The flags of England, Scotland and Wales. Each is a black flag followed by invisible letters that name the country.
const FLAGS: [&str; 3] = [
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}",
];

/// Returns the name in normalization form C, in which names are compared and stored.
#[must_use]
pub fn normalized(name: &str) -> Cow<'_, str> {
    match is_nfc_quick(name.chars()) {
        IsNormalized::Yes => name.into(),
        _ => name.nfc().collect::<String>().into(),
    }
}

/// Returns the error of a normalized name; `None` if the name is valid.
pub fn error(name: &str) -> Option<String> {
    let is_blank = |character: char| matches!(character, ' ' | '\u{3000}');
    if name.starts_with(is_blank) || name.ends_with(is_blank) {
        return Some("must not begin or end with a space".to_owned());
    }
    if name.contains("  ") {
        return Some("must not contain two spaces in a row".to_owned());
    }
    if name.starts_with(is_combining_mark) {
        return Some("must not begin with a combining mark".to_owned());
    }
    let name = FLAGS.iter().fold(Cow::Borrowed(name), |name, flag| {
        if name.contains(flag) {
            name.replace(flag, "\u{1f3f4}").into()
        } else {
            name
        }
    });
    let mut before = "";
    for (at, character) in name.char_indices() {
        let after = name.get(at + character.len_utf8()..).unwrap_or_default();
        let is_visible = match character {
            ZERO_WIDTH_NON_JOINER => follows_virama(before) || separates_letters(before, after),
            ZERO_WIDTH_JOINER => follows_virama(before) || joins_emoji(before, after),
            EMOJI_PRESENTATION => makes_emoji(before, after),
            _ => is_visible(character),
        };
        if !is_visible {
            let code = u32::from(character);
            return Some(format!(
                "must not contain U+{code:04X} where it is invisible"
            ));
        }
        before = name.get(..at + character.len_utf8()).unwrap_or_default();
    }
    None
}

/// Whether the character is visible, or is an ordinary space.
fn is_visible(character: char) -> bool {
    match character {
        ' ' | '\u{3000}' => true,
        // The list has the combining grapheme joiner, Hangul fillers, Khmer inherent vowels, variation selectors, an empty Braille cell, and
        // code points that are reserved for more invisible characters.
        '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{2065}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        _ => !matches!(
            character.general_category(),
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::SpaceSeparator
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
        ),
    }
}

/// Whether a joiner changes the form of a letter of an Indic script (RFC 5892, A.1 and A.2).
fn follows_virama(before: &str) -> bool {
    const VIRAMA: u8 = 9;
    before
        .chars()
        .next_back()
        .is_some_and(|character| canonical_combining_class(character) == VIRAMA)
}

/// Whether a non-joiner separates two letters of the Arabic script that would join, as Persian does within words.
fn separates_letters(before: &str, after: &str) -> bool {
    let is_mark = |character: &char| is_combining_mark(*character);
    let last = before.chars().rev().find(|character| !is_mark(character));
    let next = after.chars().find(|character| !is_mark(character));
    last.is_some_and(joins_next) && next.is_some_and(joins_previous)
}

/// Whether the letter connects to the letter before it. All letters in these ranges do, except the hamzas U+0621 and U+0674.
fn joins_previous(letter: char) -> bool {
    matches!(letter, '\u{620}'..='\u{64a}' | '\u{66e}'..='\u{6d3}' | '\u{6d5}' | '\u{6ee}'..='\u{6ef}' | '\u{6fa}'..='\u{6ff}')
        && !matches!(letter, '\u{621}' | '\u{674}')
}

/// Whether the letter connects to the letter after it. These letters have Unicode's joining type D (dual-joining), not R (right-joining).
fn joins_next(letter: char) -> bool {
    joins_previous(letter)
        && !matches!(
            letter,
            '\u{622}'..='\u{625}'
                | '\u{627}'
                | '\u{629}'
                | '\u{62f}'..='\u{632}'
                | '\u{648}'
                | '\u{671}'..='\u{673}'
                | '\u{675}'..='\u{677}'
                | '\u{688}'..='\u{699}'
                | '\u{6c0}'
                | '\u{6c3}'..='\u{6cb}'
                | '\u{6cd}'
                | '\u{6cf}'
                | '\u{6d2}'
                | '\u{6d3}'
                | '\u{6d5}'
                | '\u{6ee}'
                | '\u{6ef}'
        )
}

/// Whether a joiner combines two emoji.
fn joins_emoji(before: &str, after: &str) -> bool {
    let is_emoji = |character: char| !character.is_ascii() && character.is_emoji_char();
    let last = before.strip_suffix(EMOJI_PRESENTATION).unwrap_or(before);
    last.chars().next_back().is_some_and(is_emoji) && after.chars().next().is_some_and(is_emoji)
}

/// Whether U+FE0F (emoji presentation) after `before` displays an emoji. This is so after a character that also has a text form, such as `❤`, and
/// after the digit of a keycap.
fn makes_emoji(before: &str, after: &str) -> bool {
    let Some(last) = before.chars().next_back() else {
        return false;
    };
    if last.is_ascii() {
        return last.is_emoji_char() && after.starts_with(KEYCAP);
    }
    matches!(
        last.emoji_status(),
        EmojiStatus::EmojiModifierBase
            | EmojiStatus::EmojiOther
            | EmojiStatus::EmojiOtherAndEmojiComponent
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex_lite::Regex;

    use super::*;

    const VISIBLE: [&str; 18] = [
        "general",
        "release 2.0 (staging)",
        "Stra\u{df}e",
        "caf\u{e9}",
        "\u{65e5}\u{672c}\u{8a9e}\u{3000}\u{96d1}\u{8ac7}",
        // Persian: "I go", with a non-joiner after its prefix.
        "\u{645}\u{6cc}\u{200c}\u{631}\u{648}\u{645}",
        // Hindi and Sinhala, with a joiner after a virama.
        "\u{915}\u{94d}\u{200d}\u{937}",
        "\u{dc1}\u{dca}\u{200d}\u{dbb}\u{dd3}",
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
        // A rocket, a heart, a keycap, a family, a rainbow flag, a skin tone, the flag of Scotland.
        "\u{1f680} launch",
        "\u{2764}\u{fe0f}",
        "1\u{fe0f}\u{20e3}",
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
        "\u{1f3f3}\u{fe0f}\u{200d}\u{1f308}",
        "\u{1f44d}\u{1f3fd}",
        "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
        "\u{1f1e9}\u{1f1ea}",
        "q\u{323}",
    ];

    #[test]
    fn visible_names_are_accepted_in_every_script() {
        for name in VISIBLE {
            assert_eq!(error(name), None, "{name}");
            assert_eq!(normalized(name), name);
        }
    }

    #[test]
    fn names_with_invisible_parts_are_refused() {
        for name in [
            " general",
            "general ",
            "\u{3000}general",
            "\u{301}general",
            "gen  eral",
            "gen\u{a0}eral",
            "gen\u{2003}eral",
            "gen\teral",
            "general\n",
            "gen\u{ad}eral",
            "gen\u{200b}eral",
            "gen\u{200c}eral",
            "gen\u{200d}eral",
            "general\u{200d}",
            "\u{200e}general",
            "\u{202e}lareneg\u{202c}",
            "gen\u{2066}eral\u{2069}",
            "gen\u{2060}eral",
            "\u{feff}general",
            "gen\u{34f}eral",
            "\u{3164}",
            "\u{2800}",
            "gen\u{fe0f}eral",
            "1\u{fe0f}",
            "\u{1f680}\u{fe0f}",
            "\u{2764}\u{fe0e}",
            "\u{1f680}\u{200d}",
            "gen\u{e0100}eral",
            "gen\u{e0065}eral",
            "\u{1f3f4}\u{e007f}",
            // After a letter that doesn't join the next, a non-joiner has no visible effect.
            "\u{62f}\u{200c}\u{631}",
            "\u{645}\u{200c}",
            "\u{645}\u{200d}\u{645}",
            "gen\u{85}eral",
            "gen\u{2028}eral",
        ] {
            assert!(error(name).is_some(), "{name:?}");
        }
    }

    #[test]
    fn composed_and_decomposed_names_are_the_same() {
        for (composed, decomposed) in [
            ("caf\u{e9}", "cafe\u{301}"),
            ("\u{ac00}", "\u{1100}\u{1161}"),
            ("\u{3c9}", "\u{3c9}"),
            ("\u{e5}", "\u{212b}".to_lowercase().as_str()),
            ("K", "\u{212a}"),
        ] {
            assert_eq!(normalized(decomposed), composed);
        }
    }

    #[test]
    fn the_regex_in_openapi_json_matches_every_accepted_name() {
        let regex = Regex::new(&regex()).unwrap();
        for name in VISIBLE {
            assert!(regex.is_match(name), "{name}");
        }
        for name in [" a", "a ", "a\u{200b}b", "\u{202e}", "a\nb", ""] {
            assert!(!regex.is_match(name), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn accepted_names_match_the_regex(name in "\\PC{1,6}|[a \u{200b}-\u{200f}\u{fe0f}\u{1f680}]{1,5}") {
            let name = normalized(&name);
            let regex = Regex::new(&regex()).unwrap();
            prop_assert!(error(&name).is_some() || regex.is_match(&name), "{:?}", name);
        }
    }
}
