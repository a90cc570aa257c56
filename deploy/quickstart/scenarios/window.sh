# window.sh: a change outside of its change window is refused and parked with the reason
# shellcheck shell=bash disable=SC2154 # scenario.sh sets id and person
play() {
    local day
    day=$(LC_ALL=C TZ=Europe/Berlin date -d '+3 days' +%a)
    with_policy demo-window <<END
version: 1
timezone: Europe/Berlin
rules:
  - {id: demo-window, kind: window, when: {kind: change}, days: [${day,}], from: "09:00", to: "17:00"}
END
    say "changes may run on ${day} from 09:00 to 17:00 in Berlin; now it is $(LC_ALL=C TZ=Europe/Berlin date '+%a %H:%M') there"
    new_case "Demo: checkout gets version 44" --kind change --label service=checkout --label env=staging
    follow PARKED
    ctl case get "$id" -o json | grep -q 'the window 09:00 to 17:00 is closed' ||
        die "the case was not parked for its window"
    echo
    ctl gate show "$id"
}
