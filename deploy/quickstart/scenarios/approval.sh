# approval.sh: a change waits until a second person has approved it; its author may not
# shellcheck shell=bash disable=SC2154 # scenario.sh sets id and person
play() {
    with_policy demo-second-person <<END
version: 1
rules:
  - {id: known-environments, kind: environments, allow: [staging, prod]}
  - {id: demo-second-person, kind: approval, when: {kind: change}, approval: {need: 1, of: {principals: [bob, quickstart]}, expires_s: 600}}
END
    second_person bob case:read,gate:read,gate:approve
    new_case "Demo: checkout gets version 43" --kind change --label service=checkout --label env=staging
    follow WAIT_GATE
    until_ok 15 waits || die "nobody was asked" "logs: $RUN/log"
    echo
    ctl gate list
    say "quickstart, who opened the case, tries to approve it"
    if ctl gate approve "$id" --comment "I am sure"; then
        die "the author of a change could approve it"
    fi
    say "bob looks at it and approves"
    ctl gate approve "$id" --token-file "$person" --comment "looks right" || die "bob could not approve"
    follow CLOSED
    echo
    ctl gate show "$id"
}

waits() { ctl gate show "$id" -o json | grep -q '"OPEN"'; }
