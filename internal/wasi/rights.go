package wasi

// Rights are WASI's capability bits.
type Rights uint64

// The rights, with WASI's values.
const (
	RightDatasync Rights = 1 << iota
	RightRead
	RightSeek
	RightSetFlags
	RightSync
	RightTell
	RightWrite
	RightAdvise
	RightAllocate
	RightCreateDirectory
	RightCreateFile
	RightLinkSource
	RightLinkTarget
	RightOpen
	RightReadDir
	RightReadlink
	RightRenameSource
	RightRenameTarget
	RightPathStat
	RightPathSetSize
	RightPathSetTimes
	RightStat
	RightSetSize
	RightSetTimes
	RightSymlink
	RightRemoveDirectory
	RightUnlink
	RightPoll
	RightShutdown
	RightAccept
)

// What the kinds of descriptors can have. Of a file's rights only reading and writing are asked for when it is
// opened; the others come with them, since many programs never ask.
const (
	FileRights = RightDatasync | RightRead | RightSeek | RightSetFlags | RightSync | RightTell | RightWrite |
		RightAdvise | RightAllocate | RightStat | RightSetSize | RightSetTimes | RightPoll
	WriteRights = RightWrite | RightAllocate | RightSetSize | RightDatasync
	DirRights   = RightSetFlags | RightSync | RightCreateDirectory | RightCreateFile | RightLinkSource |
		RightLinkTarget | RightOpen | RightReadDir | RightReadlink | RightRenameSource | RightRenameTarget |
		RightPathStat | RightPathSetSize | RightPathSetTimes | RightStat | RightSetTimes | RightSymlink |
		RightRemoveDirectory | RightUnlink | RightPoll
	StreamRights = RightRead | RightWrite | RightSetFlags | RightStat | RightSetTimes | RightPoll | RightSync | RightDatasync
)
