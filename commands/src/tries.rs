//! Work that waits as rows of its own, with `tried_at` and `tries`. A row whose work failed rests, twice as long each time and
//! five minutes at the most, and those that were not tried yet go first: however many fail, they keep no other waiting.

/// Of the rows of a query, those that may be tried now; to be ordered by `tried_at NULLS FIRST`.
pub(crate) const MAY_BE_TRIED: &str = "(tried_at IS NULL OR tried_at < clock_timestamp() - make_interval(secs => least(300, 2 ^ least(tries, 9))))";

/// What a row whose work failed is set to.
pub(crate) const FAILED: &str = "tried_at = clock_timestamp(), tries = tries + 1";
