//! The values of QEMU's options: parts between commas, most of them `NAME=VALUE`.

/// The parts of a value. A comma that belongs to one is doubled.
pub(super) fn fields(value: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut letters = value.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != ',' {
            all.last_mut().into_iter().for_each(|last| last.push(letter));
        } else if letters.next_if_eq(&',').is_some() {
            all.last_mut().into_iter().for_each(|last| last.push(','));
        } else {
            all.push(String::new());
        }
    }
    all
}

pub(super) fn field(value: &str, name: &str) -> Option<String> {
    let is_it = |part: &String| part.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
    fields(value).iter().find_map(is_it)
}

/// The first part, where its name is left out.
pub(super) fn implied(value: &str) -> Option<String> {
    fields(value).into_iter().next().filter(|first| !first.contains('='))
}

/// Whether QEMU listens there, and does not connect.
pub(super) fn listens(value: &str) -> bool {
    let parts = fields(value);
    let mut said = parts.iter().filter_map(|part| match part.as_str() {
        "server" | "server=on" | "server=yes" => Some(true),
        "server=off" | "server=no" | "noserver" => Some(false),
        _ => None,
    });
    said.next_back().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_that_is_doubled_belongs_to_its_part() {
        assert_eq!(fields("a,b=c,,d,e"), ["a", "b=c,d", "e"]);
        assert_eq!(field("a,b=c,,d,e", "b").as_deref(), Some("c,d"));
        assert_eq!((implied("a,b=c").as_deref(), implied("b=c")), (Some("a"), None));
        assert!(
            listens("unix:q,server=on,wait=off") && listens("x,server") && !listens("x,server=off")
        );
    }
}
