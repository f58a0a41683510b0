//! What runs use up, and how much of it they may.

use std::fmt;

/// What was used: tokens and money, as whole numbers, so that sums are exact.
///
/// # Examples
///
/// ```
/// use quell_core::Usage;
///
/// let mut used = Usage { input_tokens: 900, ..Usage::default() };
/// used.add(Usage { output_tokens: 100, cost_micros: 1_250, ..Usage::default() });
/// assert_eq!(used.tokens(), 1_000);
/// assert_eq!(used.to_string(), "900 tokens in, 100 tokens out, cost 0.001250");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct Usage {
    /// Tokens read by models.
    pub input_tokens: u64,
    /// Tokens written by models.
    pub output_tokens: u64,
    /// Money, in millionths of whatever currency the embedder counts in.
    pub cost_micros: u64,
}

impl Usage {
    pub(crate) const ZERO: Self = Self { input_tokens: 0, output_tokens: 0, cost_micros: 0 };

    /// Adds what was used besides. A sum beyond the largest number stays there.
    pub const fn add(&mut self, more: Self) {
        self.input_tokens = self.input_tokens.saturating_add(more.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(more.output_tokens);
        self.cost_micros = self.cost_micros.saturating_add(more.cost_micros);
    }

    /// Raises each number to that of what was used at least.
    #[must_use]
    pub fn at_least(self, least: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.max(least.input_tokens),
            output_tokens: self.output_tokens.max(least.output_tokens),
            cost_micros: self.cost_micros.max(least.cost_micros),
        }
    }

    /// Yields the tokens read and written.
    pub const fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Tells whether nothing was used.
    pub const fn is_zero(&self) -> bool {
        self.input_tokens == 0 && self.output_tokens == 0 && self.cost_micros == 0
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input_tokens, output_tokens, cost_micros } = self;
        write!(f, "{input_tokens} tokens in, {output_tokens} tokens out")?;
        if *cost_micros > 0 { write!(f, ", cost {}", Money(*cost_micros)) } else { Ok(()) }
    }
}

/// How much a run and its descendants may use together. A run that has used more is stopped, with
/// cause [`BudgetExceeded`](crate::CauseKind::BudgetExceeded).
///
/// # Examples
///
/// ```
/// use quell_core::{Budget, Usage};
///
/// let budget = Budget::new().tokens(1_000).cost_micros(50_000);
/// let used = Usage { input_tokens: 900, output_tokens: 100, cost_micros: 0 };
/// assert_eq!(budget.exceeded_by(&used), None);
/// let used = Usage { cost_micros: 50_001, ..used };
/// assert_eq!(budget.exceeded_by(&used).unwrap(), "cost 0.050001 of 0.050000");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[must_use = "a budget does nothing until a spec has it"]
pub struct Budget {
    /// The most input tokens; no bound by default.
    input_tokens: Option<u64>,
    /// The most output tokens; no bound by default.
    output_tokens: Option<u64>,
    /// The most tokens of both; no bound by default.
    tokens: Option<u64>,
    /// The highest cost, in millionths; no bound by default.
    cost_micros: Option<u64>,
}

impl Budget {
    /// Bounds nothing yet.
    pub const fn new() -> Self {
        Self { input_tokens: None, output_tokens: None, tokens: None, cost_micros: None }
    }

    /// Bounds the tokens read. Defaults to no bound. Zero allows none.
    pub const fn input_tokens(mut self, most: u64) -> Self {
        self.input_tokens = Some(most);
        self
    }

    /// Bounds the tokens written. Defaults to no bound. Zero allows none.
    pub const fn output_tokens(mut self, most: u64) -> Self {
        self.output_tokens = Some(most);
        self
    }

    /// Bounds the tokens read and written together. Defaults to no bound. Zero allows none.
    pub const fn tokens(mut self, most: u64) -> Self {
        self.tokens = Some(most);
        self
    }

    /// Bounds the money, in millionths. Defaults to no bound. Zero allows none.
    pub const fn cost_micros(mut self, most: u64) -> Self {
        self.cost_micros = Some(most);
        self
    }

    /// Says which bound was exceeded first in the order of the setters, and by how much; none if
    /// what was used is within all of them.
    pub fn exceeded_by(&self, used: &Usage) -> Option<String> {
        let tokens = [
            (self.input_tokens, used.input_tokens, "input tokens"),
            (self.output_tokens, used.output_tokens, "output tokens"),
            (self.tokens, used.tokens(), "tokens"),
        ];
        let over = |most: Option<u64>, used: u64| most.filter(|most| used > *most);
        let of_tokens = tokens.into_iter().find_map(|(most, used, what)| {
            over(most, used).map(|most| format!("{used} of {most} {what}"))
        });
        of_tokens.or_else(|| {
            let most = over(self.cost_micros, used.cost_micros)?;
            Some(format!("cost {} of {}", Money(used.cost_micros), Money(most)))
        })
    }
}

/// Millionths, as people write them.
struct Money(u64);

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_stays_at_the_largest_number() {
        let most = Usage { input_tokens: u64::MAX, output_tokens: 1, cost_micros: u64::MAX };
        let mut used = most;
        used.add(Usage { input_tokens: 1, output_tokens: 1, cost_micros: 1 });
        assert_eq!(used, Usage { output_tokens: 2, ..most });
        assert_eq!(used.tokens(), u64::MAX);
        assert!(!used.is_zero() && Usage::default().is_zero());
    }

    #[test]
    fn the_first_bound_in_the_order_of_the_setters_is_named_and_zero_allows_none() {
        let used = Usage { input_tokens: 1, output_tokens: 1, cost_micros: 1 };
        assert_eq!(Budget::new().exceeded_by(&used), None, "no bound is no bound");
        let money = Budget::new().cost_micros(0);
        let tokens = money.tokens(0);
        let output = tokens.output_tokens(0);
        for (budget, words) in [
            (money, "cost 0.000001 of 0.000000"),
            (tokens, "2 of 0 tokens"),
            (output, "1 of 0 output tokens"),
            (output.input_tokens(0), "1 of 0 input tokens"),
        ] {
            assert_eq!(budget.exceeded_by(&used).as_deref(), Some(words));
            assert_eq!(budget.exceeded_by(&Usage::default()), None, "as much as the bound");
        }
    }
}
