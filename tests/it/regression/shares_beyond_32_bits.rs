//! The sum of two shares of `lru tune` wrapped, so shares beyond the whole were accepted.

use crate::engine::policy::Story;

#[test]
fn shares_with_a_sum_beyond_32_bits_are_refused() {
    let mut story = Story::new("-m 8");
    for (hot, warm) in [(u32::MAX, 1), (u32::MAX, 81), (1, u32::MAX), (u32::MAX / 2 + 1, u32::MAX / 2 + 1)] {
        let reply = story.ask(&format!("lru tune {hot} {warm} 0.1 2.0\r\n"));
        assert_eq!(reply, "ERROR hot and warm pcts must not exceed 80\r\n", "{hot} and {warm}");
    }
    story.fill("a");
    story.finish();
}
