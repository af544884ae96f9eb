use super::*;

impl Numbered for u8 {
    fn number(self) -> usize {
        self.into()
    }
}

#[test]
fn members_leave_in_any_order() {
    let (mut bag, mut other, mut positions) = (Bag::default(), Bag::default(), Positions::default());
    (0..5_u8).for_each(|thing| bag.insert(thing, &mut positions));
    for thing in [1, 4, 0] {
        bag.remove(thing, &mut positions);
        other.insert(thing, &mut positions);
    }
    assert_eq!((bag.members(), other.members()), (&[2, 3][..], &[1, 4, 0][..]));
    other.swap(0, 2, &mut positions);
    other.swap(1, 1, &mut positions);
    assert_eq!(other.members(), [0, 4, 1]);
    other.remove(0, &mut positions);
    assert_eq!(other.members(), [1, 4]);
    for thing in [2, 3] {
        bag.remove(thing, &mut positions);
    }
    assert!(bag.is_empty());
}
