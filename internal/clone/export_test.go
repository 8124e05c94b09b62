package clone

// Spares counts the instances that wait for a conversation, and the programs that no conversation uses.
func (h *Host) Spares() (instances, unused int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.programs {
		if p.spare != nil {
			instances++
		}
		if p.users == 0 {
			unused++
		}
	}
	return instances, unused
}
