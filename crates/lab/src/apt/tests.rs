use super::*;

#[test]
fn a_package_of_which_too_little_is_printed_is_not_left_out() {
    let whole = "'http://a.example/b_1_all.deb' b_1_all.deb 7 SHA256:c833be48abfa16bc19c4966ec9\n";
    assert_eq!(all_printed(&format!("said\n{whole}")).unwrap().len(), 1);
    // As apt prints one by itself whose list has no MD5.
    let short = "'http://a.example/c_1_all.deb' c_1_all.deb 7 \n";
    let error = all_printed(&format!("{whole}{short}")).unwrap_err().to_string();
    assert!(error.starts_with("apt prints a package as \"'http://a.example/c_1"), "{error}");
}
