use super::*;

#[test]
fn entries_leave_in_the_order_of_their_coming_whatever_was_removed_before() {
    let mut queue = Queue::default();
    for (number, key) in ["a", "b", "c", "b", "a"].into_iter().enumerate() {
        queue.entry(key, Vec::new).push(number);
    }
    assert_eq!((queue.len(), queue.contains("b")), (3, true));
    assert_eq!(queue.remove("b"), Some(vec![1, 3]));
    assert_eq!((queue.remove("b"), queue.contains("b")), (None, false));
    queue.entry("b", Vec::new).push(5);
    assert_eq!(queue.pop_first(), Some(("a", vec![0, 4])));
    assert_eq!(queue.pop_first(), Some(("c", vec![2])));
    assert_eq!(queue.pop_first(), Some(("b", vec![5])));
    assert_eq!((queue.pop_first(), queue.len()), (None, 0));
    queue.entry("a", Vec::new).push(6);
    assert_eq!(queue.pop_first(), Some(("a", vec![6])));
}
