# Copies scripts and resources into the build tree at their relative path, installs the folder they were copied to.
macro(ctkMacroCompilePythonScript)
  cmake_parse_arguments(CTK "NO_INSTALL_SUBDIR" "TARGET_NAME;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(name IN ITEMS TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if(NOT DEFINED CTK_${name})
      message(FATAL_ERROR "ctkMacroCompilePythonScript: ${name} is mandatory")
    endif()
  endforeach()
  if(CTK_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "ctkMacroCompilePythonScript: unknown ${CTK_UNPARSED_ARGUMENTS}")
  endif()
  set(copies)
  foreach(file IN LISTS CTK_SCRIPTS CTK_RESOURCES)
    if(IS_ABSOLUTE ${file} OR NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "ctkMacroCompilePythonScript: no file ${file} in ${CMAKE_CURRENT_SOURCE_DIR}")
    endif()
    add_custom_command(
      OUTPUT ${CTK_DESTINATION_DIR}/${file}
      COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_CURRENT_SOURCE_DIR}/${file} ${CTK_DESTINATION_DIR}/${file}
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${file}
      )
    list(APPEND copies ${CTK_DESTINATION_DIR}/${file})
  endforeach()
  add_custom_target(Copy${CTK_TARGET_NAME} ALL DEPENDS ${copies})
  set(folder ${CTK_DESTINATION_DIR})
  if(CTK_NO_INSTALL_SUBDIR)
    string(APPEND folder "/")
  endif()
  install(DIRECTORY ${folder} DESTINATION ${CTK_INSTALL_DIR} COMPONENT RuntimeLibraries)
endmacro()

macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS;WITH_SUBDIR" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MODULE_UNPARSED_ARGUMENTS OR NOT DEFINED MODULE_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: unknown ${MODULE_UNPARSED_ARGUMENTS}, or no NAME")
  endif()
  ctkMacroCompilePythonScript(
    TARGET_NAME ${MODULE_NAME}
    SCRIPTS "${MODULE_SCRIPTS}"
    RESOURCES "${MODULE_RESOURCES}"
    DESTINATION_DIR ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
    INSTALL_DIR ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}
    NO_INSTALL_SUBDIR
    )
endmacro()

macro(slicer_add_python_unittest)
  cmake_parse_arguments(UNITTEST "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${UNITTEST_SCRIPT})
    message(FATAL_ERROR "slicer_add_python_unittest: no file ${UNITTEST_SCRIPT}")
  endif()
  set_property(GLOBAL APPEND PROPERTY UNITTESTS ${UNITTEST_SCRIPT})
endmacro()
