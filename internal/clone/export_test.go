package clone

// Spares counts the instances that wait for a conversation, and the programs that no conversation uses, and those that one does.
func (h *Host) Spares() (instances, unused, used int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.programs {
		if p.spare != nil {
			instances++
		}
		if p.users == 0 {
			unused++
		} else {
			used++
		}
	}
	return instances, unused, used
}
