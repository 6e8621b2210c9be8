"""Any JSON, for the searches of the parsers' tests."""

from hypothesis import strategies as st

__all__ = ["AMOUNT", "JSON", "STATUS"]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
# Text that is, or nearly is, a number.
AMOUNT = (
    st.floats().map(str) | st.decimals(allow_nan=True).map(str) | st.text("0123456789.eE+-_ ,", max_size=12) | st.sampled_from(["", "NaN", "1e400"])
)
STATUS = st.sampled_from([200, 200, 200, 400, 401, 402, 403, 404, 418, 429, 451, 500])
