# 64nginx_errors.t: what `nginx -t` says to each wrong value, from
# data/nginx_errors.json. A case is the lines of an http block; the one that ends
# in #<- is the one that the message must name, as file:line, and says is what it
# must tell. files are written first; one that is called closed cannot be read.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Nginx;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $ngx = Aegis::Nginx->new(stack => $stack, name => 'errors');
my $conf = $ngx->dir . '/check.conf';
my @cases = @{ json_decode(slurp(root . '/t/data/nginx_errors.json')) };

# What every database and key file is in these texts, with a password in it.
my $ok = 'aegis_database "@DB@"; aegis_keys @RUN@/nginx/aegis_keys;';
my ($password) = $ngx->fill('@DB@') =~ /password=(\S+)/;

sub text ($case) {
    my $http = join "\n", map { s/\@OK\@/$ok/gr } @{ $case->{http} };
    return $ngx->text("$http\n");
}

is($ngx->check($ngx->text("$ok server { listen 127.0.0.1:\@P1\@; location / { aegis on; } }"))->{rc}, 0, 'what the cases are made of is right by itself');

my %seen;
for my $case (@cases) {
    for my $name (sort keys %{ $case->{files} // {} }) {
        my $path = $ngx->file($name, $case->{files}{$name});
        if ($name eq 'closed') { chown 0, 0, $path if $> == 0; chmod $> == 0 ? 0600 : 0, $path }
    }
    my $text = text($case);
    my ($line, $n) = (undef, 0);
    for (split /\n/, $text) { $n++; $line = $n if /#<-/ }
    my $r = $ngx->check($text);
    my $says = $ngx->fill($case->{says});
    my ($emerg) = $r->{err} =~ /\[emerg\] (?:\d+#\d+: )?(.*)/;
    ok($r->{rc} eq '1' && defined $emerg && $emerg =~ /$says/ && $emerg =~ /\Q$conf\E:$line\b/, "$case->{name}: refused, with reason and line")
        or diag("line $line of\n" . join("\n", @{ $case->{http} }) . "\nends with $r->{rc}: $r->{err}\nwanted: $says");
    ok(index($r->{err}, $password) < 0, "$case->{name}: the password is not in it") if $case->{name} =~ /database/;
    $seen{ $case->{name} }++;
    unlink $ngx->dir . '/closed';
}
is_deeply([ grep { $seen{$_} > 1 } sort keys %seen ], [], 'no case has the name of another');

# a secret that is in the wrong place
for my $bad ('password=geheim wort dbname=aegis', 'host=/run/postgresql geheim=1', 'postgresql://aegis:geheim@[::1/aegis', 'postgresql://aegis:geheim@127.0.0.1:port:geheim/') {
    my $r = $ngx->check($ngx->text("aegis_database \"$bad\";\n"));
    is($r->{rc}, 1, "aegis_database \"$bad\" is refused");
    unlike($r->{err}, qr/geheim|wort/, 'and not repeated');
}

# every directive can be wrong in some way
my %page = map { m{([^/]+)\.md$} && $1 ne 'README' ? ($1 => 1) : () } glob root . '/docs/directives/*.md';
my $all = join "\n", map { join "\n", @{ $_->{http} } } @cases;
is_deeply([ grep { $all !~ /\b\Q$_\E\b[^;]*;[^\n]*#<-/ } sort keys %page ], [], 'each directive of docs/directives is wrong in some case');

done_testing;
