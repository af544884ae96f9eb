use super::*;

#[test]
fn a_status_is_read_from_its_name() {
    for status in PeerStatus::ALL {
        assert_eq!(status.to_string().parse(), Ok(status));
    }
}

#[test]
fn any_other_text_is_an_error_that_lists_the_names() {
    for text in ["", "idle", "IDLE", " Idle", "Idle ", "Alive"] {
        let error = text.parse::<PeerStatus>().unwrap_err();
        assert_eq!(error.text, text);
    }
    let error = "outalive".parse::<PeerStatus>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`outalive` is no peer status, expected one of `Idle`, `OutConnecting`, `OutHandshaking`, `OutAlive`, \
         `InHandshaking`, `InAlive`, `Banned`"
    );
}
