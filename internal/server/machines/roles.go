package machines

// Agents is what the boot network asks: firmware, iPXE, agents, new systems.
type Agents struct{ *Core }

// Operators is what operators ask, by the command line or the dashboard.
type Operators struct{ Applies }

// Applies makes the fleet what files say.
type Applies struct{ *Core }

// Upkeep is what time does to machines, and what follows the store.
type Upkeep struct{ *Core }

// Agents answers the boot network.
func (s *Core) Agents() Agents { return Agents{s} }

// Operators answers operators.
func (s *Core) Operators() Operators { return Operators{Applies{s}} }

// Upkeep does what nobody asks for.
func (s *Core) Upkeep() Upkeep { return Upkeep{s} }
