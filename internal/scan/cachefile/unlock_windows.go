package cachefile

import "os"

// unlock: a lock ends when its file is closed.
func unlock(*os.File) {}
