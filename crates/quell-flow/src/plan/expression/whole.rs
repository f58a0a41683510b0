//! [`reads_whole`] tells whether an expression takes a name as a value, and not a part of it.

use super::token;

/// Tells whether a name stands alone in an expression that is right: nothing is taken out of it, as
/// in `x.key` and `x["key"]`, and it is neither tested, `x is defined`, nor searched, `1 in x`.
pub(crate) fn reads_whole(expression: &str, name: &str) -> bool {
    let tokens = tokens(expression);
    let is_whole = |at: usize| {
        let before = at.checked_sub(1).map_or("", |before| tokens[before]);
        // Of a name in brackets a part may be taken behind them.
        let next = tokens[at + 1..].iter().find(|token| **token != ")");
        // Behind `.`, `|` and `is`, and before `=`, it is another name.
        !matches!(before, "." | "|" | "is" | "in")
            && !matches!(next, Some(&("." | "[" | "is" | "=")))
    };
    (0..tokens.len()).any(|at| tokens[at] == name && is_whole(at))
}

fn tokens(expression: &str) -> Vec<&str> {
    let bytes = expression.as_bytes();
    let (mut at, mut tokens) = (0, Vec::new());
    while at < bytes.len() {
        if bytes[at].is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let len = token::len(&bytes[at..], tokens.last() == Some(&"."));
        tokens.push(&expression[at..at + len]);
        at += len;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_whole_where_no_part_of_it_is_taken() {
        for yes in ["a", "a | tojson", "[a]", "{'x': a}", "a == b", "x if a else y", "(a)", "b[a]"]
        {
            assert!(reads_whole(yes, "a"), "{yes}");
        }
        for no in ["a.b", "a ['b']", "(a).b", "x.a", "'a'", "a is defined", "'b' in a", "b(a=1)"] {
            assert!(!reads_whole(no, "a"), "{no}");
        }
    }
}
