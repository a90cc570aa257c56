# Aegis::Nginx: an nginx whose configuration is the test's own text, beside an
# installation of Aegis::Stack: its database, keys and certificate are filled in.
# In a text @RUN@ is the installation's folder, @DIR@ this nginx's, @DB@ the
# gateway's connection string, and @P1@, @P2@ ... are free ports, the same ones
# for the life of the object.
# Invariant: it is stopped with the test, and finish() has read its error log.
package Aegis::Nginx;

use v5.36;
use Test::More ();
use Aegis::Http;
use Aegis::Test;

# stack; name; main and http: text of those blocks; events: text, has a default.
sub new ($class, %args) {
    my $dir = scratch('nginx-' . ($args{name} // 'own'));
    my $self = bless { events => 'worker_connections 512;', main => '', %args, dir => $dir, port => {} }, $class;
    mkdir "$dir/$_" for qw(log tmp);
    $self->_own($dir, "$dir/log", "$dir/tmp");
    return $self;
}

sub dir ($self) { return $self->{dir} }
sub port ($self, $n = 1) { return $self->{port}{$n} //= free_port() }

# Files that nginx writes belong to the user that it runs as.
sub _own ($self, @files) {
    return if $> != 0;
    my ($uid, $gid) = (stat $self->{stack}->run_dir . '/nats')[4, 5];
    chown $uid, $gid, @files;
}

# A file for nginx to read, below our folder.
sub file ($self, $name, $text) {
    my $path = spew("$self->{dir}/$name", $self->fill($text));
    $self->_own($path);
    return $path;
}

sub fill ($self, $text) {
    my $run = $self->{stack}->run_dir;
    my ($db) = slurp("$run/nginx/nginx.conf") =~ /^\s*aegis_database\s+"([^"]*)"/m;
    $db .= " password=" . slurp("$run/secrets/gateway") =~ s/\s+//gr;
    $text =~ s/\@DB\@/$db/g;
    $text =~ s/\@RUN\@/$run/g;
    $text =~ s/\@DIR\@/$self->{dir}/g;
    $text =~ s/\@P(\d+)\@/$self->port($1)/ge;
    return $text;
}

# The whole file. What is above http is ours, so that no path of a system is used.
sub text ($self, $http = $self->{http}) {
    my $temp = join '', map { "    $_ \@DIR\@/tmp;\n" } qw(client_body_temp_path proxy_temp_path fastcgi_temp_path
        uwsgi_temp_path scgi_temp_path);
    return $self->fill("worker_processes 1;\npid \@DIR\@/nginx.pid;\nerror_log \@DIR\@/log/error.log notice;\n"
        . "load_module \@RUN\@/modules/ngx_http_aegis_module.so;\n$self->{main}\n"
        . "events { $self->{events} }\n\nhttp {\n$temp    access_log off;\n$http\n}\n");
}

sub preload () {
    return () unless is_san;
    my @lib = map { run_ok(['gcc', "-print-file-name=$_.so"]) =~ s/\s+//gr } qw(libasan libubsan);
    return (LD_PRELOAD => "@lib", ASAN_OPTIONS => 'detect_leaks=0');
}

# nginx -t on a whole file's text: {rc, err, ...}.
sub check ($self, $text) {
    my $file = $self->file('check.conf', $text);
    return run([$self->{stack}->as_service('nginx', '-t', '-q', '-p', $self->{dir}, '-c', $file, '-e', "$self->{dir}/log/check.log")],
        env => {preload});
}

sub start ($self) {
    my $file = $self->file('nginx.conf', $self->text);
    $self->{process} = start_process($self->{name} // 'nginx',
        [$self->{stack}->as_service('nginx', '-p', $self->{dir}, '-c', $file, '-e', "$self->{dir}/log/error.log", '-g', 'daemon off;')],
        log => "$self->{dir}/log/start.log", stop => 'QUIT', env => {preload});
    wait_for('nginx to take connections', 20, sub { $self->workers && IO::Socket::INET->new("127.0.0.1:" . $self->port) })
        or die "nginx did not start:\n" . slurp("$self->{dir}/log/start.log") . eval { slurp("$self->{dir}/log/error.log") };
    return $self;
}

sub stop ($self) {
    my $p = delete $self->{process} or return;
    return stop_process($p);
}

sub pid ($self) { return $self->{process}{pid} }
sub workers ($self) { return $self->{stack}->children($self->pid) }

# Another configuration, or the same one again; returns when only workers of it are left.
sub reload ($self, $http = $self->{http}) {
    $self->{http} = $http;
    $self->file('nginx.conf', $self->text);
    my %old = map { $_->{pid} => 1 } $self->workers;
    kill 'HUP', $self->pid;
    return wait_for('nginx to reload', 30, sub { my @w = $self->workers; @w && !grep { $old{ $_->{pid} } } @w });
}

# A client of the n-th port.
sub http ($self, $n = 1, %args) {
    my $scheme = delete $args{scheme} // 'http';
    return Aegis::Http->new(url => "$scheme://127.0.0.1:" . $self->port($n), ca => $self->{stack}->e('AEGIS_CA'),
        token => $self->{stack}->token, %args);
}

# The lines of a log of JSON lines.
sub log_lines ($self, $name) {
    return map { json_decode($_) } grep { length } split /\n/, eval { slurp("$self->{dir}/log/$name") } // '';
}

# The last test of a suite for this nginx.
sub finish ($self, %opt) {
    $self->stop;
    my @bad = grep { /\[(?:alert|emerg|crit)\]|Sanitizer|runtime error:/ } map { split /^/, eval { slurp($_) } // '' }
        "$self->{dir}/log/error.log", "$self->{dir}/log/start.log";
    @bad = grep { my $l = $_; !grep { $l =~ $_ } @{ $opt{allow} } } @bad if $opt{allow};
    Test::More::is(scalar @bad, 0, 'no alert and no sanitizer report was logged') or Test::More::diag(join '', @bad[0 .. ($#bad < 9 ? $#bad : 9)]);
}

1;
