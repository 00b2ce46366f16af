//! Random messages for tests, from a seed.

use bytes::Bytes;

use super::error_code::ErrorCode;
use super::primitive::{Form, Records};
use super::string::Str;
use crate::types::TopicId;

/// SplitMix64: the same seed gives the same values everywhere.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Short mostly; sometimes past the first byte of a varint, to reach its second.
    fn length(&mut self) -> usize {
        if self.one_in(20) { 120 + self.below(200) } else { self.below(12) }
    }
}

/// A value that the given version can carry.
pub(crate) trait Sample: Sized {
    fn sample(dice: &mut Dice, form: Form) -> Self;
}

macro_rules! sample_numbers {
    ($($type:ty),*) => {$(
        impl Sample for $type {
            fn sample(dice: &mut Dice, _: Form) -> Self {
                match dice.below(8) {
                    0 => 0,
                    1 => <$type>::MAX,
                    2 => <$type>::MIN,
                    _ => dice.next() as $type,
                }
            }
        }
    )*};
}

sample_numbers!(i8, i16, i32, i64);

impl Sample for bool {
    fn sample(dice: &mut Dice, _: Form) -> Self {
        dice.one_in(2)
    }
}

impl Sample for ErrorCode {
    fn sample(dice: &mut Dice, _: Form) -> Self {
        ErrorCode::ALL[dice.below(ErrorCode::ALL.len())]
    }
}

impl Sample for TopicId {
    fn sample(dice: &mut Dice, _: Form) -> Self {
        TopicId(std::array::from_fn(|_| dice.next() as u8))
    }
}

impl Sample for Str {
    fn sample(dice: &mut Dice, _: Form) -> Self {
        let letters = ['a', 'Z', '0', '.', '_', 'é', '漢', '🦀'];
        let length = dice.length();
        Str::from((0..length).map(|_| letters[dice.below(letters.len())]).collect::<String>())
    }
}

impl Sample for Records {
    fn sample(dice: &mut Dice, _: Form) -> Self {
        let length = dice.length();
        Records::Inline((0..length).map(|_| dice.next() as u8).collect::<Bytes>())
    }
}

impl Sample for Bytes {
    fn sample(dice: &mut Dice, _: Form) -> Self {
        let length = dice.length();
        (0..length).map(|_| dice.next() as u8).collect()
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(dice: &mut Dice, form: Form) -> Self {
        let count = if dice.one_in(100) { 150 } else { dice.below(4) };
        (0..count).map(|_| T::sample(dice, form.nullable(false))).collect()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(dice: &mut Dice, form: Form) -> Self {
        if form.nullable && dice.one_in(4) { None } else { Some(T::sample(dice, form)) }
    }
}
