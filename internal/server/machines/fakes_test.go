package machines

const mac = "52:54:00:00:00:01"
