# 73operations.t: what an operator is told is complete: each alert leads to a
# section that says what to do, each code and each metric of the programs is in
# the pages, and the pages name none that is gone. No service is started.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Def;
use Aegis::Test;

my $page = slurp(root . '/docs/operations.md');
my $all = join '', map { slurp(root . "/$_") } files_of(qr{^docs/[^/]+\.md$});

subtest 'every alert has a runbook' => sub {
    my $rules = slurp(root . '/deploy/prometheus/alerts.yaml');
    my %url;
    for my $rule (split /^\s+(?=- alert: )/m, $rules) {
        my ($name) = $rule =~ /^- alert: (\w+)/ or next;
        ($url{$name}) = $rule =~ /^\s+runbook_url: (\S+)$/m;
    }
    cmp_ok(scalar keys %url, '>', 15, scalar(keys %url) . ' alerts');
    my %section = $page =~ /^### (Aegis\w+)\n\n(.+(?:\n.+)*)/mg;
    is_deeply([ grep { ($url{$_} // '') ne 'https://aegis.example/docs/operations.md#' . lc } sort keys %url ], [], 'its runbook_url is that of its section');
    is_deeply([ sort keys %section ], [ sort keys %url ], 'and there is a section for each, and for no other');
    is_deeply([ grep { length $section{$_} < 60 } sort keys %section ], [], 'which says something');
    my (@untold, @other);
    utf8::decode(my $text = $rules);
    for my $rule (split /^\s+(?=- alert: )/m, $text) {
        my ($name) = $rule =~ /^- alert: (\w+)/ or next;
        my ($en, $zh) = map { $rule =~ /^\s+$_: "(.+)"$/m ? $1 : '' } qw(summary summary_zh);
        push @untold, $name unless $en =~ /\w/ && $zh =~ /\p{Han}{2}/;
        push @other, $name if "@{[ sort $en =~ /\{\{.*?\}\}/g ]}" ne "@{[ sort $zh =~ /\{\{.*?\}\}/g ]}";
    }
    is_deeply(\@untold, [], 'it is said in English and in Chinese');
    is_deeply(\@other, [], 'with the same values');
    my $tests = slurp(root . '/deploy/prometheus/alerts_test.yaml');
    is_deeply([ grep { $tests !~ /alertname: $_\b/ } sort keys %url ], [], 'promtool tests each');
};

subtest 'every error says what an operator looks at' => sub {
    my ($table) = $page =~ /^## Errors and what to do\n(.*?)^## /ms;
    my %row = $table =~ /^\| `([a-z-]+)` \| \d+ \| (.+) \|$/mg;
    is_deeply([ sort keys %row ], [ grep { $_ ne 'ok' } sort map { $_->[1] } def_rows('errors', 'AEGIS_ERROR') ], 'each code has its row');
    my %status = map { $_->[1] => $_->[2] } def_rows('errors', 'AEGIS_ERROR');
    is_deeply([ grep { $table !~ /^\| `$_` \| $status{$_} \|/m } sort keys %row ], [], 'with its status');
};

subtest 'every metric is explained' => sub {
    my %metric;
    for my $f (files_of(qr{^workers/.*\.c$})) {
        my $text = slurp(root . "/$f");
        $metric{$1} = $f while $text =~ /\baegis_(?:counter|gauge|histogram)\(\s*"([a-z0-9_]+)"/g;
    }
    for my $f (files_of(qr{^ngx_aegis_module/ngx_http_aegis_(?:metrics|stats)\.c$})) {
        my $text = slurp(root . "/$f");
        $metric{$1} = $f while $text =~ /\b((?:aegis|case|conflict|idempotent)_[a-z_]+(?:_total|_seconds|_size|_length|_connections|_info|_pending))\b/g;
    }
    cmp_ok(scalar keys %metric, '>', 40, scalar(keys %metric) . ' metrics');
    is_deeply([ map { "$_ of $metric{$_}" } grep { $all !~ /`\Q$_\E[`\{]/ } sort keys %metric ], [], 'each is in a page of docs/');
    my $code = join '', map { slurp(root . "/$_") } files_of(qr{^(?:workers|ngx_aegis_module)/.*\.[ch]$});
    my ($said) = $page =~ /^## Metrics\n(.*?)^## /ms;
    is_deeply([ grep { $code !~ /\b\Q$_\E\b/ } $said =~ /`((?:aegis|case|conflict)_[a-z0-9_]+)`/g ], [], 'and the page names none that is gone');
};

subtest 'every command of aegisctl that a page says is there' => sub {
    my (%verbs, %option, @bad, $said);
    for my $f (files_of(qr{^workers/(?:aegisctl|ctl/aegis_ctl_\w+)\.c$})) {
        my $text = slurp(root . "/$f");
        $option{$1} = 1 while $text =~ /\{ "([a-z-]+)", +(?:0|'\w'),/g;
        my %table = $text =~ /^const aegis_ctl_command_t  aegis_ctl_(\w+)_commands\[\] = \{\n(.*?)^\};/msg;
        $verbs{$_} = { map { $_ => 1 } $table{$_} =~ /^    \{ "([a-z]*)", /mg } for keys %table;
    }
    cmp_ok(scalar keys %verbs, '>', 15, scalar(keys %verbs) . ' nouns');
    for my $f (files_of(qr{(?:\.md|^conf/.*\.(?:yaml|conf)|^deploy/.*(?:\.yaml|README\.Debian))$})) {
        my $text = slurp(root . "/$f");
        for my $command ($text =~ /(?:`|^\s*(?:\$ )?(?:sudo -u \w+ )?)aegisctl ([a-z][^`\n|]*)/mg) {
            my ($noun, $verb) = $command =~ /^([a-z]+)(?: ([a-z]+)\b)?/;
            next if $f eq 'CHANGELOG.md';
            push @bad, "$f: aegisctl $command" if !$verbs{$noun} || defined $verb && !$verbs{$noun}{''} && !$verbs{$noun}{$verb};
            push @bad, "$f: aegisctl $command: --$_" for grep { !$option{$_} } $command =~ /(?<!\S)--([a-z-]+)/g;
            $said++;
        }
    }
    cmp_ok($said, '>', 50, "$said commands");
    is_deeply(\@bad, [], 'with its verb and its options');
};

subtest 'the pages are whole' => sub {
    is_deeply([ map { lines_match($_, qr/^(?:<{7}|={7}|>{7})(?: |$)/) } files_of(qr{\.(?:md|yaml|yml|conf)$}) ], [], 'no merge was left open');
};

done_testing;
