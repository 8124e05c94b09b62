# Prints the commands of a page.
#
#	awk -v kind=readme -f commands.awk README.md        the lines of the first indented block, one command each
#	awk -v kind=console -f commands.awk docs/PAGE.md    bash that runs what follows "$ " in ```console blocks
#
# A command of a console block goes on after a backslash, in a here-document, and in lines that begin with "> ". Each
# comes with a call of: step LINE "COMMAND", before it.
BEGIN {
	if (kind != "readme" && kind != "console") {
		print "commands.awk: kind is readme or console, not \"" kind "\"" >"/dev/stderr"
		failed = 1
		exit 2
	}
}

kind == "readme" {
	if (sub(/^    /, "")) {
		print
		seen = 1
	} else if (seen)
		exit
	next
}

/^```/ {
	if (open_block)
		open_block = 0
	else
		open_block = $0 == "```console" ? 2 : 1
	if (tag != "") {
		print FILENAME ":" NR ": the here-document does not end: " tag " is missing" >"/dev/stderr"
		failed = 1
		exit 2
	}
	more = 0
	next
}

open_block != 2 { next }

tag != "" { # in a here-document
	print
	if ($0 == tag)
		tag = ""
	next
}

more {
	sub(/^> /, "")
	emit($0)
	next
}

sub(/^\$ /, "") {
	title = $0
	gsub(/'/, "'\\''", title)
	print "step " NR " '" title "'"
	emit($0)
	next
}

sub(/^> /, "") { emit($0) }

function emit(text) {
	print text
	more = text ~ /\\$/
	if (match(text, /<<-?['"]?[A-Za-z_]+['"]?/)) {
		tag = substr(text, RSTART, RLENGTH)
		gsub(/[<'"-]/, "", tag)
	}
}

END {
	if (!failed && tag != "") {
		print FILENAME ": the here-document at its end does not end: " tag " is missing" >"/dev/stderr"
		failed = 1
	}
	if (failed)
		exit 2
}
