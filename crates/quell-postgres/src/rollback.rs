//! Whether a stop that is stored takes its run back, in SQL.

/// Tells whether a stop takes its run back: one that does not has no such key, and within a text of
/// a caller the quotes are escaped.
macro_rules! rolls_back {
    ($request:literal) => {
        concat!("strpos(", $request, ", '\"rollback\":true') > 0")
    };
}

/// The stop that takes its run back besides. Not by `jsonb`, which refuses a NUL.
macro_rules! rolled_back {
    ($request:literal) => {
        concat!(
            "case when ",
            $crate::rollback::rolls_back!($request),
            " then ",
            $request,
            " else '{\"rollback\":true,' || substr(",
            $request,
            ", 2) end"
        )
    };
}

pub(crate) use {rolled_back, rolls_back};
