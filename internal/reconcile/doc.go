// Package reconcile applies what a clone did to a directory: a tree.Delta against a pinned version of it becomes a durable plan of
// idempotent steps. Whenever a crash comes, the directory is afterwards, when Recover has run, wholly the old one or wholly the new one.
//
// Nothing of a Delta is trusted. What it says of files that were there is checked against the pinned version, which this
// device made; a path is opened name by name, never through a link, and only on the directory's own file system.
// What other programs change meanwhile is never overwritten and never removed: it is a Conflict, which a Policy decides.
//
// # Order
//
// Prepare makes new files in a staging folder at the top of the directory, ".clonecloud-" and the plan's id, and writes the plan
// with the data of files that are to be changed. Apply renames the plan: from then on it counts. Then, each step looking whether it
// has been done:
//
//  1. contents and times of files that were there are changed in place, from the plan's data: hard links and open handles stay;
//  2. names that go are moved to the staging folder, from the deepest on, by number;
//  3. names that come are given, directories first and from the top, without replacing anything; then further hard links;
//  4. what was moved away and has got no name is removed, after one more look;
//  5. times of directories are set, the staging folder goes, the plan is removed.
//
// What must be durable before a later step depends on it is synced between them: of a move the new name before the old one. New files have mode
// 0666 and new directories 0777 less the umask.
//
// A file that is in the middle of being changed in place when the machine stops may be changed by others before
// Recover runs: bytes that the plan writes are then written over theirs. Everywhere else the time between looking and changing is
// that of two calls, and on Linux and macOS a name is given and taken by calls that replace nothing.
//
// # Files of a plan
//
// In the State folder a plan is id.new, or id.plan once it counts, and id.note. uvarint is that of encoding/binary, a
// string is a uvarint length and its bytes, u32 and u64 are little-endian, bool is a u8.
//
//	plan      header, data, steps, trailer
//	header    "CCplan", u8 version (1), string directory, uvarint its number, u8 policy, string date, u32 CRC-32C of all that
//	data      chunks that the steps name by their place and SHA-256
//	steps     made, writes, displaced, places, links, times: of each a uvarint number, and as many of
//	  made       uvarint number in the delta, u8 kind, uvarint number of the system, bool named
//	  write      string path, stamp, string path at the end, bool nameless, elsewhere, written, uvarint mode, mtime, atime, size,
//	             uvarint number of pieces, the pieces, uvarint number of chunks, for each uvarint size and id
//	  displaced  string path, stamp, bool gone, sole, uvarint names taken of one that has others, uvarint write that changes it + 1
//	  place      string path, string name in the staging folder, u8 kind, bool made, uvarint number in the delta
//	  link       string path, string path to link to, uvarint number of the system, uvarint place in made + 1, uvarint number in the delta
//	  times      string path, uvarint mtime, atime
//	stamp     u8 kind, uvarint number, size, mtime, ctime
//	piece     uvarint size, u8 form (0 hole, 1 data, 2 kept); of data uvarint place in the file, 32 bytes SHA-256
//	trailer   u64 place of the steps, u64 their length, SHA-256 of header and steps, "CCend"
//	note      records of u8 kind, u32 length, payload, u32 CRC-32C of all that; the first that is not whole is the end
//
// Whoever has a plan in hand holds a lock on its file, so that Recover leaves it alone.
//
// A Plan is for one goroutine; functions may be called from several, also in several processes.
package reconcile
